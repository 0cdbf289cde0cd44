"""A worker that speaks the wire (proto/PROTOCOL.md) and does what a test tells it: it needs no weights.

It answers with the prompt's own tokens, from the first on, again and again (so the text is known and a
resumed stream shows whether it goes on where it must), one token a step for each req. Attributes
change its behaviour while it runs; every frame from the router lies in `seen`."""
import json
import os
import random
import threading
import time

import msgpack
import xxhash
import zmq

(HELLO, WELCOME, GENERATE, CANCEL, TOKENS, ERROR, CACHE, SNAPSHOT, LOAD, DRAIN, BYE) = range(1, 12)


def model_hashes(folder):
    with open(os.path.join(folder, "tokenizer.json"), "rb") as f:
        tokenizer = xxhash.xxh3_64_intdigest(f.read())
    with open(os.path.join(folder, "config.json"), "rb") as f:
        return xxhash.xxh3_64_intdigest(f.read(), seed=tokenizer), tokenizer


def ids_of(data):
    return [int.from_bytes(data[i:i + 4], "little") for i in range(0, len(data), 4)]


def bytes_of(ids):
    return b"".join(i.to_bytes(4, "little") for i in ids)


class Req:
    def __init__(self, frame):
        self.key = (frame["c"], frame.get("i", 0), frame["a"])
        self.epoch = frame["e"]
        tokens = ids_of(frame["k"])
        self.n_prompt = frame["np"]
        self.prompt, self.done = tokens[:self.n_prompt], len(tokens) - self.n_prompt
        self.max, self.stop = frame["mx"], set(ids_of(frame.get("st", b"")))
        self.frame, self.first, self.hashes = frame, True, None

    def next_token(self):
        return self.prompt[self.done % len(self.prompt)]


class ScriptedWorker:
    def __init__(self, endpoint, model, name="scripted", slots=64, page_size=16, length_max=8192,
                 step_s=0.002, pages=100000, **hello):
        self.endpoint, self.name, self.slots, self.page_size = endpoint, name, slots, page_size
        self.model, self.step_s, self.length_max, self.pages = model, step_s, length_max, pages
        self.fingerprint, self.tokenizer_hash = model_hashes(model)
        self.hello = {"ft": 3, **hello}  # overrides of HELLO's keys
        self.epoch, self.session = random.getrandbits(63) | 1, 0
        self.seen, self.refusals, self.reqs, self.cache = [], [], {}, set()
        self.steps = self.seq = self.received = 0
        self.welcomed = False
        self.pause = False        # keep reqs, send no tokens
        self.mute = False         # send nothing at all: looks dead
        self.draining = False
        self.burst = 1            # tokens a step for each req
        self.eos_after = None     # end every req with finish "stop" at this many tokens
        self.on_generate = None   # f(worker, req): True when it answered by itself
        self.report_cache = True
        self.skip_seq = 0         # leave out that many numbers: a gap
        self.step_times = []      # (step, time) of each TOKENS frame
        self.lock = threading.RLock()
        self.outbox = []
        self.stopping = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    # ---- what tests call ----
    def frames(self, kind):
        with self.lock:
            return [f for f in self.seen if f["t"] == kind]

    def send(self, frame):
        with self.lock:
            self.outbox.append(frame)

    def finish_item(self, req, tokens=(), finish=0, first=None):
        return {"c": req.key[0], "i": req.key[1], "a": req.key[2], "f": req.done if first is None else first,
                "k": bytes_of(tokens), "z": finish}

    def stop(self, bye=True):
        if self.thread.is_alive():
            if bye and not self.mute:
                self.send({"t": BYE, "x": "the script ends"})
            self.stopping = True
            self.thread.join(10)

    def kill(self):
        """As a killed process: the connection breaks, nothing is said."""
        self.mute = True
        self.stop(bye=False)

    # ---- the loop ----
    def _run(self):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 100
        self.socket.setsockopt(zmq.ROUTING_ID, self.name.encode())
        self.socket.connect(self.endpoint)
        next_step = next_load = next_hello = last_heard = time.monotonic()
        while True:
            now = time.monotonic()
            if not self.welcomed and now >= next_hello:
                self._hello()
                next_hello = now + 0.3
            if self.welcomed and now >= next_load:
                self._load()
                next_load = now + 0.1
            if self.welcomed and now >= next_step and not self.pause:
                if self._step():
                    next_load = now
                next_step = max(next_step + self.step_s, now - self.step_s)
            with self.lock:
                outbox, self.outbox = self.outbox, []
            for frame in outbox:
                self._send(frame)
            if self.stopping:
                break
            wait = max(0.0, min(next_step if self.reqs and not self.pause else next_load, next_load) - time.monotonic())
            if self.socket.poll(min(wait, 0.02) * 1000):
                while True:
                    try:
                        self._take(msgpack.unpackb(self.socket.recv(zmq.DONTWAIT)))
                    except zmq.Again:
                        break
                last_heard = time.monotonic()
            if self.welcomed and not self.mute and time.monotonic() - last_heard > 3:
                self._begin()
                last_heard = time.monotonic()
        self.socket.close(linger=0 if self.mute else 200)
        self.context.term()

    def _begin(self):
        with self.lock:
            self.welcomed, self.received = False, 0
            self.reqs.clear()

    def _send(self, frame):
        if not self.mute:
            try:
                self.socket.send(msgpack.packb(frame), zmq.DONTWAIT)
            except zmq.Again:
                pass

    def _hello(self):
        self.session += 1
        self._send({"t": HELLO, "v": 1, "w": self.name, "e": self.epoch, "s": self.session,
                    "m": os.path.basename(self.model), "fp": self.fingerprint, "th": self.tokenizer_hash, "wh": 1,
                    "ps": self.page_size, "lm": self.length_max, "pg": self.pages, "tp": 1, "cr": self.slots, **self.hello})

    def _load(self):
        with self.lock:
            pending = sum(r.n_prompt - self._cached(r) for r in self.reqs.values() if r.first)
            self._send({"t": LOAD, "e": self.epoch, "s": self.steps, "g": self.received,
                        "r": 0 if self.pause else len(self.reqs), "w": len(self.reqs) if self.pause else 0, "pf": pending,
                        "dt": sum(r.n_prompt + r.done for r in self.reqs.values()), "fr": self.pages - len(self.cache),
                        "cr": self.slots - len(self.reqs), "sb": 0, "d": self.draining})

    def _cached(self, req):
        hashes, count = self._hashes(req), 0
        while count < len(hashes) and hashes[count] in self.cache:
            count += 1
        return min(count * self.page_size, req.n_prompt - 1)

    def _hashes(self, req):
        if req.hashes is not None:
            return req.hashes
        hashes, parent = [], xxhash.xxh3_64_intdigest(req.frame.get("ns", 0).to_bytes(8, "little"), seed=self.fingerprint)
        for i in range(0, req.n_prompt - self.page_size + 1, self.page_size):
            parent = xxhash.xxh3_64_intdigest(bytes_of(req.prompt[i:i + self.page_size]), seed=parent)
            hashes.append(parent)
        req.hashes = hashes
        return hashes

    def _store(self, req):
        """The prompt's pages enter the cache; CACHE says so. Returns how many tokens were there."""
        hashes = self._hashes(req)
        tokens = self._cached(req)
        cached = 0
        while cached < len(hashes) and hashes[cached] in self.cache:
            cached += 1
        if cached < len(hashes):
            self.cache.update(hashes[cached:])
            self.seq += 1 + self.skip_seq
            self.skip_seq = 0
            if self.report_cache:
                self._send({"t": CACHE, "e": self.epoch, "s": self.seq, "n": [
                    {"p": hashes[cached - 1] if cached else 0, "h": b"".join(h.to_bytes(8, "little") for h in hashes[cached:])}]})
        return tokens

    def _step(self):
        """`burst` tokens for each req. True when one ended."""
        items, ended, epoch = [], [], 0
        with self.lock:
            for req in list(self.reqs.values()):
                item = {"c": req.key[0], "i": req.key[1], "a": req.key[2], "f": req.done}
                if req.first:
                    item["h"] = self._store(req)
                    req.first = False
                tokens = []
                while len(tokens) < self.burst and "z" not in item:
                    tokens.append(req.next_token())
                    req.done += 1
                    if self.eos_after is not None and req.done >= self.eos_after or tokens[-1] in req.stop:
                        item["z"] = 1
                    elif req.done >= req.max:
                        item["z"] = 2
                item["k"] = bytes_of(tokens)
                if "z" in item:
                    ended.append(req.key)
                items.append(item)
                epoch = req.epoch
            for key in ended:
                del self.reqs[key]
            if not items:
                return False
            self.steps += 1
            self.step_times.append((self.steps, time.monotonic()))
            self._send({"t": TOKENS, "e": epoch, "s": self.steps, "n": items})
        return bool(ended)

    def _take(self, frame):
        with self.lock:
            kind = frame["t"]
            if kind != WELCOME:
                self.seen.append(frame)
            if kind == WELCOME:
                first, self.welcomed = not self.welcomed, True
                self.router_epoch = frame["e"]
                if frame.get("q"):
                    self._snapshot()
                if first:
                    self._load()
            elif kind == SNAPSHOT and frame.get("q"):
                self._snapshot()
            elif kind == GENERATE:
                self.received += 1
                req = Req(frame)
                if not (self.on_generate and self.on_generate(self, req)):
                    self.reqs[req.key] = req
                self._load()
            elif kind == CANCEL:
                req = self.reqs.pop((frame["c"], frame.get("i", 0), frame["a"]), None)
                if req:
                    self._send({"t": TOKENS, "e": frame["e"], "s": self.steps, "n": [self.finish_item(req, finish=3)]})
                    self._load()
            elif kind == ERROR and not frame.get("e"):
                self.refusals.append(frame)
                if self.welcomed:
                    self._begin()
            elif kind == BYE:
                self._begin()

    def say(self, ids):
        """From now on every req is answered with these tokens, whatever it asks; 2 ends it."""
        def on_generate(worker, req):
            req.prompt = list(ids) + [2]
            req.max, req.stop = len(ids) + 1, {2}
            return False
        self.on_generate = on_generate

    def _snapshot(self):
        run = [{"p": 0, "h": b"".join(h.to_bytes(8, "little") for h in self.cache)}] if self.cache else []
        self._send({"t": SNAPSHOT, "p": 0, "pc": 1, "e": self.epoch, "s": self.seq, "n": run})
