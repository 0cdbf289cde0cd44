"""A router's side of proto/PROTOCOL.md for tests: no HTTP, no text, one socket, scripted by hand.

    router = FakeRouter()                      # binds tcp://127.0.0.1:*
    worker = router.greet()                    # HELLO, WELCOME; returns HELLO's fields
    router.generate(call=1, tokens=[1, 2, 3], mx=8)
    tokens, finish, cached = router.collect(call=1)
"""
import struct
import time

import msgpack
import zmq

HELLO, WELCOME, GENERATE, CANCEL, TOKENS, ERROR, CACHE, SNAPSHOT, LOAD, DRAIN, BYE = range(1, 12)
STOP, LENGTH, CANCELLED, FAILED = 1, 2, 3, 4
VERSION = 1


def pack_tokens(tokens):
    return struct.pack(f"<{len(tokens)}I", *tokens)


def unpack_tokens(data):
    return list(struct.unpack(f"<{len(data) // 4}I", data))


class FakeRouter:
    def __init__(self, endpoint="tcp://127.0.0.1:*", epoch=None):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 200)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self.socket.bind(endpoint)
        self.endpoint = self.socket.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()
        self.epoch = epoch or time.time_ns()
        self.peer = self.hello = self.load = None
        self.welcomed_at = 0.0
        self.kept = []  # TOKENS items and ERRORs that nobody has asked for yet

    def close(self):
        self.socket.close()
        self.context.term()

    def send(self, frame):
        self.send_bytes(msgpack.packb(frame))

    def send_bytes(self, data):
        try:
            self.socket.send_multipart([self.peer, data])
        except zmq.ZMQError:
            pass  # it left: the test will see so

    def welcome(self, want_snapshot=False):
        self.welcomed_at = time.monotonic()
        self.send({"t": WELCOME, "v": VERSION, "r": "fake", "e": self.epoch, "s": self.hello["s"],
                   "q": want_snapshot})

    def receive(self, seconds=0.1):
        """The next frame as a dict, or None. Sends heartbeats, keeps HELLO and LOAD."""
        end = time.monotonic() + seconds
        while True:
            if self.welcomed_at and time.monotonic() > self.welcomed_at + 0.4:
                self.welcome()
            left = max(0.0, min(0.2, end - time.monotonic()))
            if self.socket.poll(left * 1000):
                self.peer, data = self.socket.recv_multipart()
                frame = msgpack.unpackb(data)
                if frame["t"] == HELLO:
                    self.hello = frame
                elif frame["t"] == LOAD:
                    self.load = frame
                return frame
            if time.monotonic() >= end:
                return None

    def wait(self, kind, seconds=30.0, where=lambda frame: True, process=None):
        """The next frame of this type; TOKENS items and ERRORs that pass by are kept. process: the worker; when it ends instead,
        its log is the failure."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            left = end - time.monotonic()
            frame = self.receive(min(left, 1.0) if process else left)
            if frame and frame["t"] == kind and where(frame):
                return frame
            self._keep(frame)
            assert frame or process is None or process.alive(), process.text()
        raise AssertionError(f"no frame of type {kind} within {seconds} s" + (": " + process.text() if process else ""))

    def _keep(self, frame):
        if frame and frame["t"] == TOKENS:
            assert frame["e"] == self.epoch
            self.kept += frame["n"]
        elif frame and frame["t"] == ERROR and frame.get("e"):
            self.kept.append({**frame, "error": frame["z"]})

    def greet(self, seconds=60.0, want_snapshot=True, process=None):
        self.wait(HELLO, seconds, process=process)
        self.welcome(want_snapshot)
        self.wait(LOAD, seconds)
        return self.hello

    def key(self, call, attempt=1, choice=0):
        return {"e": self.epoch, "c": call, "i": choice, "a": attempt}

    def generate(self, call, tokens, mx, attempt=1, choice=0, **fields):
        self.send({"t": GENERATE, **self.key(call, attempt, choice), "k": pack_tokens(tokens),
                   "np": len(tokens), "mx": mx, "te": 0, "sd": call, **fields})

    def cancel(self, call, attempt=1, choice=0):
        self.send({"t": CANCEL, **self.key(call, attempt, choice)})

    def next_item(self, call, attempt=1, seconds=60.0):
        """The next item of TOKENS, or ERROR (has key "error"), of the req."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for i, item in enumerate(self.kept):
                if item["c"] == call and item["a"] == attempt:
                    return self.kept.pop(i)
            self._keep(self.receive(end - time.monotonic()))
        raise AssertionError(f"no tokens of call {call} within {seconds} s")

    def collect(self, call, attempt=1, first=0, seconds=60.0):
        """(tokens, finish, cached) of a whole req; checks that no index is missing."""
        tokens, cached = [], None
        while True:
            item = self.next_item(call, attempt, seconds)
            assert "error" not in item, item
            assert item["f"] == first + len(tokens)
            cached = item.get("h", 0) if cached is None else cached
            tokens += unpack_tokens(item.get("k", b""))
            if item.get("z"):
                return tokens, item["z"], cached

    def wait_idle(self, seconds=30.0):
        return self.wait(LOAD, seconds, lambda load: load["r"] == 0 and load["w"] == 0)
