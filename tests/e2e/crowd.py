"""Many workers in one thread: sessions, loads and caches, no answers. For what a large cluster looks like."""
import random
import threading
import time

import msgpack
import zmq
from scripted_worker import CACHE, GENERATE, HELLO, LOAD, SNAPSHOT, WELCOME, TOKENS, bytes_of, ids_of, model_hashes


def packed(hashes):
    return b"".join(h.to_bytes(8, "little") for h in hashes)


class Crowd:
    def __init__(self, endpoint, model, count, name="worker", seed=1, load_s=0.1):
        self.count, self.load_s, self.random = count, load_s, random.Random(seed)
        fingerprint, tokenizer_hash = model_hashes(model)
        self.context = zmq.Context()
        self.sockets, self.poller = [], zmq.Poller()
        for i in range(count):
            socket = self.context.socket(zmq.DEALER)
            socket.linger = 0
            socket.setsockopt(zmq.ROUTING_ID, f"{name}-{i}".encode())
            socket.connect(endpoint)
            self.sockets.append(socket)
            self.poller.register(socket, zmq.POLLIN)
        self.hello = [{"t": HELLO, "v": 1, "w": f"{name}-{i}", "e": 1000 + i, "s": 1, "m": model.rstrip("/").split("/")[-1],
                       "fp": fingerprint, "th": tokenizer_hash, "wh": 1, "ps": 16, "lm": 8192, "pg": 20000, "tp": 1, "cr": 64, "ft": 3}
                      for i in range(count)]
        self.welcomed, self.pages = [False] * count, [0] * count
        self.seq, self.received, self.steps = [0] * count, [0] * count, [0] * count
        self.runs = [[] for _ in range(count)]  # what a snapshot says
        self.reqs = {}     # (worker, key) to [epoch, tokens left]
        self.busy = False  # loads that change with every report
        self.outbox, self.lock, self.stopping = [], threading.Lock(), False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def grow(self, worker, parent, hashes):
        """The worker now holds this chain behind the parent."""
        with self.lock:
            self.outbox.append((worker, parent, list(hashes)))

    def stop(self):
        self.stopping = True
        self.thread.join(10)
        for socket in self.sockets:
            socket.close()
        self.context.term()

    def _send(self, i, frame):
        try:
            self.sockets[i].send(msgpack.packb(frame), zmq.DONTWAIT)
        except zmq.Again:
            pass

    def _load(self, i):
        running = sum(1 for worker, _ in self.reqs if worker == i)
        draw = self.random.randrange
        running += draw(1, 24) if self.busy else 0
        self.steps[i] += draw(3, 12) if self.busy else 0
        self._send(i, {"t": LOAD, "e": 1000 + i, "s": self.steps[i], "g": self.received[i], "r": running, "w": draw(4) if self.busy else 0,
                       "pf": draw(5000) if self.busy else 0, "dt": 0, "fr": 20000 - self.pages[i], "cr": 64 - running, "sb": 0, "d": False})

    def _step(self):
        for (i, key), req in list(self.reqs.items()):
            item = {"c": key[0], "i": key[1], "a": key[2], "f": req[2], "k": bytes_of([req[3][req[2] % len(req[3])]])}
            if req[2] == 0:
                item["h"] = 0
            req[2] += 1
            self.steps[i] += 1
            if req[2] >= req[1]:
                item["z"] = 2
                del self.reqs[(i, key)]
            self._send(i, {"t": TOKENS, "e": req[0], "s": self.steps[i], "n": [item]})

    def _grow(self):
        with self.lock:
            outbox, self.outbox = self.outbox, []
        for i, parent, hashes in outbox:
            self.seq[i] += 1
            self.pages[i] += len(hashes)
            self.runs[i].append({"p": parent, "h": packed(hashes)})
            self._send(i, {"t": CACHE, "e": 1000 + i, "s": self.seq[i], "n": [self.runs[i][-1]]})

    def _take(self, i, frame):
        if frame["t"] == WELCOME:
            if not self.welcomed[i] or frame.get("q"):
                self._send(i, {"t": SNAPSHOT, "p": 0, "pc": 1, "e": 1000 + i, "s": self.seq[i], "n": self.runs[i]})
            self.welcomed[i] = True
        elif frame["t"] == SNAPSHOT and frame.get("q"):
            self._send(i, {"t": SNAPSHOT, "p": 0, "pc": 1, "e": 1000 + i, "s": self.seq[i], "n": self.runs[i]})
        elif frame["t"] == GENERATE:
            self.received[i] += 1
            self.reqs[(i, (frame["c"], frame.get("i", 0), frame["a"]))] = [frame["e"], frame["mx"], 0, ids_of(frame["k"])]

    def _run(self):
        next_load = next_hello = time.monotonic()
        while not self.stopping:
            now = time.monotonic()
            if now >= next_hello and not all(self.welcomed):
                for i in range(self.count):
                    if not self.welcomed[i]:
                        self._send(i, self.hello[i])
                next_hello = now + 0.5
            if all(self.welcomed):
                self._grow()
                self._step()
            if now >= next_load:
                for i in range(self.count):
                    if self.welcomed[i]:
                        self._load(i)
                next_load = now + self.load_s
            for socket, _ in self.poller.poll(20):
                i = self.sockets.index(socket)
                while True:
                    try:
                        self._take(i, msgpack.unpackb(socket.recv(zmq.DONTWAIT)))
                    except zmq.Again:
                        break


def plant(crowd, branches, seed=5):
    """A tree of about so many branches: a few system prompts, conversations under them, turns under these.
    Every worker that holds a branch holds the way to it."""
    draw = random.Random(seed)
    number = [1]

    def chain(length):
        number[0] += length
        return [(number[0] - k) << 20 for k in range(length)]
    ways = [(0, ())]  # (last hash, workers)
    weights = [1]
    for i in range(branches):
        if i < 6:
            parent, holders = 0, tuple(draw.sample(range(crowd.count), max(1, crowd.count // (i + 1))))
        else:
            parent, above = draw.choices(ways[1:], weights[1:])[0]
            holders = tuple(draw.sample(above, max(1, int(len(above) * draw.uniform(0.2, 0.7)))))
        hashes = chain(draw.randint(8, 40) if i < 6 else draw.randint(2, 24))
        for worker in holders:
            crowd.grow(worker, parent, hashes)
        ways.append((hashes[-1], holders))
        weights.append(30 if i < 6 else draw.choice((1, 1, 3, 8)))
    return number[0] - 1
