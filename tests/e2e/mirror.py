"""A listener of /cluster/events that puts the changes together, as the page does."""
import json
import socket
import threading
import time

import requests


class Mirror:
    def __init__(self, admin, key=None):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.reply = requests.get(admin + "/cluster/events", stream=True, timeout=60, headers=headers)
        assert self.reply.status_code == 200, self.reply.text
        assert self.reply.headers["content-type"].startswith("text/event-stream")
        self.router, self.workers, self.nodes, self.tree = {}, {}, {}, {}
        self.decisions, self.events = {}, {}
        self.messages = self.comments = self.bytes = 0
        self.ended = False
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        try:
            rest = b""
            for chunk in self.reply.iter_content(None):
                self.bytes += len(chunk)
                *parts, rest = (rest + chunk).split(b"\n\n")
                for part in parts:
                    if part.startswith(b"data: "):
                        self.take(json.loads(part[6:]))
                    else:
                        assert part == b":"
                        self.comments += 1
        except (requests.RequestException, AttributeError):
            pass
        self.ended = True

    def take(self, event):
        assert event["full"] == (self.messages == 0), "all of it comes first, and once"
        self.router.update(event.get("router", {}))
        for worker in event.get("gone", []):
            del self.workers[worker]
        for row in event.get("workers", []):
            assert row["id"] in self.workers or "name" in row
            self.workers.setdefault(row["id"], {}).update(row)
        tree = event.get("tree", {})
        self.tree.update({k: tree[k] for k in ("pages", "cut") if k in tree})
        for node in tree.get("gone", []):
            del self.nodes[node]
        for node in tree.get("nodes", []):
            self.nodes[node[0]] = dict(zip(("id", "parent", "pages", "below", "hidden", "heat", "holders", "names"), node))
        for decision in event.get("decisions", []):
            assert decision["n"] not in self.decisions
            self.decisions[decision["n"]] = decision
        for item in event.get("events", []):
            self.events[item["n"]] = item
        self.messages += 1

    def worker(self, name):
        return next((w for w in list(self.workers.values()) if w["name"] == name), None)

    def kinds(self, name=None):
        return [e["kind"] for _, e in sorted(list(self.events.items())) if name in (None, e["worker"])]

    def same(self, other):
        return (self.workers, self.nodes, self.tree, self.router) == (other.workers, other.nodes, other.tree, other.router)

    def quiet(self, seconds):
        """No change for so long."""
        before = self.messages
        time.sleep(seconds)
        return self.messages == before

    def close(self):
        try:
            self.reply.raw.connection.sock.shutdown(socket.SHUT_RDWR)
        except (OSError, AttributeError):
            pass
        self.reply.close()
        self.thread.join(10)
