"""The queue in front of the workers: a greedy key waits and is refused alone, deadlines hold, and who is refused hears when to come again."""
import itertools
import threading
import time

import pytest
import requests

from conftest import MODEL, NAME, SLOW, wait_for
from scripted_worker import GENERATE, ScriptedWorker

KEYS = {"greedy": "sk-greedy-0123456789", "modest": "sk-modest-0123456789"}
MARK = {"greedy": 1111, "modest": 2222}  # the first token of each one's prompts


class Callers:
    """Calls in threads of their own; replies by key."""

    def __init__(self, cluster):
        self.cluster, self.threads, self.replies, self.fresh = cluster, [], {name: [] for name in KEYS}, itertools.count(5000)

    def call(self, name, count, tokens=4, headers=None):
        for _ in range(count):
            body = {"model": NAME, "prompt": [MARK[name], next(self.fresh), 300, 400], "max_tokens": tokens, "ignore_eos": True}
            thread = threading.Thread(target=self._one, args=(name, body, headers or {}))
            thread.start()
            self.threads.append(thread)

    def _one(self, name, body, headers):
        self.replies[name].append(requests.post(self.cluster.url() + "/v1/completions", json=body, timeout=60 * SLOW,
                                                headers={"Authorization": "Bearer " + KEYS[name], **headers}))

    def join(self):
        for thread in self.threads:
            thread.join(60 * SLOW)
            assert not thread.is_alive()

    def codes(self, name):
        return sorted(r.status_code for r in self.replies[name])


@pytest.fixture
def world(cluster, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("".join(f"{name} {key}\n" for name, key in KEYS.items()))
    made = []

    def make(*args, **worker):
        c = cluster(workers=0, start=False, router_args=["--api-key-file", str(keys), *args])
        made.append(ScriptedWorker(c.wire(), MODEL, **worker))
        wait_for(lambda: c._get(0, "/ready") == 200, 20)
        return c, made[-1], Callers(c)
    yield make
    for worker in made:
        worker.stop()


def order(worker):
    names = {mark: name for name, mark in MARK.items()}
    return [names[int.from_bytes(f["k"][:4], "little")] for f in worker.frames(GENERATE)]


def queued(c):
    return c.metric("msgl_router_queued")


@pytest.mark.sanitize
def test_a_greedy_key_waits_and_is_refused_alone(world):
    c, worker, callers = world("--queue-max", "20", slots=2)
    worker.pause = True
    callers.call("greedy", 22)  # 2 on the worker, 20 wait: the queue is full
    wait_for(lambda: queued(c) == 20, 20)
    callers.call("greedy", 3)
    wait_for(lambda: len(callers.replies["greedy"]) == 3, 20)
    callers.call("modest", 4)  # takes the places of four of those
    wait_for(lambda: c.metrics()[("msgl_router_key_queued", 'key="modest"')] == 4, 20)
    wait_for(lambda: len(callers.replies["greedy"]) == 7, 20)
    refused = list(callers.replies["greedy"])
    assert queued(c) == 20 and not callers.replies["modest"]
    assert all(r.status_code == 429 and int(r.headers["Retry-After"]) >= 1 and "queue" in r.json()["error"]["message"] for r in refused)
    worker.pause = False
    callers.join()
    assert callers.codes("modest") == [200] * 4 and callers.codes("greedy") == [200] * 18 + [429] * 7
    sent = order(worker)
    assert len(sent) == 22
    # Of two slots each key gets one: the modest key's four calls are among the first ten, though 16 others came before them.
    assert sent[2:10].count("modest") == 4, sent
    metrics = c.metrics()
    assert metrics[("msgl_router_queue_refused_total", 'reason="full"')] == 3
    assert metrics[("msgl_router_queue_refused_total", 'reason="pushed_out"')] == 4
    wait_for(lambda: not any(v for (name, _), v in c.metrics().items() if name in ("msgl_router_key_queued", "msgl_router_key_running")), 5)


def test_equal_keys_get_equal_turns(world):
    c, worker, callers = world(slots=2)
    worker.pause = True
    callers.call("greedy", 14)
    wait_for(lambda: queued(c) == 12, 20)
    callers.call("modest", 12)
    wait_for(lambda: queued(c) == 24, 20)
    worker.pause = False
    callers.join()
    sent = order(worker)[2:]
    assert callers.codes("greedy") == [200] * 14 and callers.codes("modest") == [200] * 12
    for end in range(4, 25):
        assert abs(sent[:end].count("greedy") - sent[:end].count("modest")) <= 3, (end, sent)


def test_a_full_queue_of_equals_refuses_the_newcomer(world):
    c, worker, callers = world("--queue-max", "4", slots=1)
    worker.pause = True
    callers.call("greedy", 3)
    wait_for(lambda: queued(c) == 2, 20)
    callers.call("modest", 2)
    wait_for(lambda: queued(c) == 4, 20)
    callers.call("modest", 1)
    wait_for(lambda: callers.replies["modest"], 20)
    callers.call("greedy", 1)
    wait_for(lambda: callers.replies["greedy"], 20)
    worker.pause = False
    callers.join()
    assert callers.codes("greedy") == [200] * 3 + [429] and callers.codes("modest") == [200] * 2 + [429]


@pytest.mark.parametrize("header", ["X-Request-Timeout-Ms", "x-envoy-expected-rq-timeout-ms"])
def test_a_deadline_in_the_queue_is_answered_not_run(world, header):
    c, worker, callers = world(slots=1)
    worker.pause = True
    callers.call("greedy", 1)
    wait_for(lambda: worker.frames(GENERATE), 20)
    began = time.monotonic()
    callers.call("modest", 1, headers={header: "400"})
    callers.call("modest", 1, headers={header: "no number"})  # none: waits
    wait_for(lambda: callers.replies["modest"], 20)
    assert 0.39 <= time.monotonic() - began < 0.9 + SLOW
    late = callers.replies["modest"][0]
    assert late.status_code == 504 and "400 ms" in late.json()["error"]["message"]
    worker.pause = False
    callers.join()
    assert callers.codes("modest") == [200, 504]
    assert len(worker.frames(GENERATE)) == 2
    assert c.metrics()[("msgl_router_queue_refused_total", 'reason="deadline"')] == 1


def test_a_deadline_reaches_the_worker(world):
    _, worker, callers = world(slots=4)
    callers.call("modest", 1, headers={"X-Request-Timeout-Ms": "30000"})
    callers.join()
    assert 25000 < worker.frames(GENERATE)[0]["dl"] <= 30000
