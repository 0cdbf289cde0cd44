"""Routers that say anything in any order to a real worker (--engine sim) over real sockets, and what the worker must say all the same.

    Peer    one router: a ROUTER socket, the reqs of its session, what it heard; proto/PROTOCOL.md is what it holds the worker to
    Job     a GENERATE: its prompt, its tokens (known beforehand), how far it is, how it may end
    play()  events of a seed, one after the other; which come does not depend on what is answered, so a seed repeats them

What is held: tokens of a req are the true ones in order without a gap; each req that was taken ends once, as it may; nothing is said of
another epoch, of an ended session, of a req that nobody sent; LOAD counts what was sent; the sequence of CACHE has no gap and what it adds
and takes is what a snapshot shows; in the end nothing runs, waits or holds a page."""
import random
import struct
import time

import msgpack
import zmq

from fake_router import (BYE, CACHE, CANCEL, CANCELLED, DRAIN, ERROR, GENERATE, HELLO, LENGTH, LOAD, SNAPSHOT, STOP, TOKENS, VERSION, WELCOME,
                         pack_tokens, unpack_tokens)
from traffic import expected

INVALID, TOO_LONG, NOT_FOUND, QUEUE_FULL, INTERNAL, UNSUPPORTED, UNAVAILABLE, TIMEOUT, CONFLICT = 1, 2, 4, 6, 7, 8, 9, 10, 16
BEAT_S = 0.3


class Job:
    def __init__(self, key, ids, made, mx, want, may=()):
        self.key, self.ids, self.mx, self.want, self.may = key, ids, mx, want, set(may)
        self.next = self.start = made
        self.ended, self.certain, self.again = False, True, 0  # certain: it must end; again: sent once more with the same name

    def __repr__(self):
        return f"{self.key} mx={self.mx} start={self.start} next={self.next} may={self.may} certain={self.certain}"


class Peer:
    def __init__(self, number, vocab, dead_s):
        self.context = zmq.Context.instance()
        self.number, self.vocab, self.dead_s = number, vocab, dead_s
        self.epoch, self.port, self.peer, self.socket = 1000 + number, None, None, None
        self.hello, self.session, self.open, self.tricks = None, 0, False, []
        self.sent, self.heard, self.stalled, self.silent = 0.0, 0.0, 0.0, False
        self.jobs, self.last_load, self.count = {}, None, 0
        self.pages, self.seq, self.parts, self.draining, self.gone = None, None, None, False, False
        self.ending = set()  # sessions that this router has ended
        self.bind()

    # ---- the socket ----
    def bind(self):
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        if self.port is None:
            self.port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        else:
            self.socket.bind(f"tcp://127.0.0.1:{self.port}")

    def rebind(self):
        """As when the process was killed and another took its place."""
        self.socket.close()
        self.end_session()
        self.epoch += 100
        time.sleep(0.02)
        self.bind()

    def raw(self, *parts):
        if self.peer is not None:
            self.socket.send_multipart([self.peer, *parts])
            self.sent = time.monotonic()

    def say(self, kind, **fields):
        self.raw(msgpack.packb({"t": kind, **fields}))

    def welcome(self, want=False, **other):
        if self.hello:
            self.say(WELCOME, **{"v": VERSION, "r": "fuzz", "e": self.epoch, "s": self.hello["s"], "q": want, **other})

    def end_session(self):
        """By what was just done the session is over; what it held is lost."""
        if self.open:
            self.ending.add(self.session)
        self.open = False
        self.jobs, self.pages, self.seq, self.parts = {}, None, None, None

    # ---- what comes ----
    def listen(self, seconds):
        end = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            if self.open and not self.silent:
                self.stalled = max(self.stalled, now - self.sent, now - self.heard)
                if now - self.sent > BEAT_S:
                    self.welcome()
            if self.socket.poll(max(0.0, min(0.05, end - now)) * 1000):
                parts = self.socket.recv_multipart()
                self.peer, self.heard = parts[0], time.monotonic()
                assert len(parts) == 2
                self.take(msgpack.unpackb(parts[1]))
            elif time.monotonic() >= end:
                return

    def take(self, frame):
        kind = frame["t"]
        if kind == HELLO:
            return self.on_hello(frame)
        if not self.open:
            return None  # of a session that was just ended: on its way when it was
        if kind == TOKENS:
            assert frame["e"] == self.epoch, frame
            for item in frame["n"]:
                self.on_item(item)
        elif kind == ERROR:
            self.on_error(frame)
        elif kind == LOAD:
            assert frame["e"] == self.hello["e"] and frame["fr"] <= self.hello["pg"] and frame["g"] <= self.count, (frame, self.count)
            self.last_load = frame
        elif kind == CACHE:
            self.on_cache(frame)
        elif kind == SNAPSHOT:
            self.on_snapshot(frame)
        elif kind == DRAIN:
            self.draining = frame["d"]
        elif kind == BYE:
            self.end_session()
            self.gone = True
        else:
            raise AssertionError(f"a worker does not send {frame}")
        return None

    def on_hello(self, frame):
        if self.open:
            assert frame["s"] > self.session or frame["e"] != self.hello["e"], frame
            assert self.stalled > self.dead_s / 3, f"a session ended for no reason: {frame}, {self.stalled:.2f} s"
            self.end_session()
        assert frame["s"] not in self.ending or frame["e"] != self.hello["e"], f"an ended session goes on: {frame}"
        self.hello, self.session, self.stalled, self.count, self.last_load = frame, frame["s"], 0.0, 0, None
        for trick in self.tricks:  # before WELCOME nothing counts
            trick()
        self.tricks = []
        self.jobs, self.pages, self.seq = {}, None, None
        self.open, self.heard = True, time.monotonic()
        self.welcome(want=frame["s"] % 2 == 0)

    def on_item(self, item):
        key = (item["c"], item.get("i", 0), item["a"])
        job = self.jobs.get(key)
        assert job, f"tokens of a req that nobody sent: {item}"
        if job.ended and job.again:
            job.ended, job.next, job.again = False, job.start, job.again - 1
        tokens, finish = unpack_tokens(item.get("k", b"")), item.get("z", 0)
        assert not job.ended and item["f"] == job.next, (job, item)
        assert tokens == job.want[job.next:job.next + len(tokens)] and job.next + len(tokens) <= job.mx, (job, item, tokens)
        assert tokens or finish, (job, item)
        job.next += len(tokens)
        assert finish == 0 or finish in job.may or finish == LENGTH and job.next == job.mx, (job, item)
        assert finish or job.next < job.mx or STOP in job.may, (job, item)
        job.ended = finish != 0

    def on_error(self, frame):
        if not frame.get("e"):
            raise AssertionError(f"about the session: {frame}")
        job = self.jobs.get((frame["c"], frame.get("i", 0), frame["a"]))
        assert frame["e"] == self.epoch and job and (not job.ended or job.again), (frame, job)
        if job.ended:
            job.again -= 1
        allowed = job.may | {QUEUE_FULL} | ({UNAVAILABLE} if self.draining else set())
        assert -frame["z"] in allowed or frame["z"] in (QUEUE_FULL, UNAVAILABLE) and frame["z"] in allowed, (frame, job)
        job.ended = True

    # ---- the cache ----
    def hashes(self, run):
        return struct.unpack(f"<{len(run['h']) // 8}Q", run["h"])

    def on_cache(self, frame):
        assert frame["e"] == self.hello["e"] and (self.seq is None or frame["s"] == self.seq + 1), (frame["s"], self.seq)
        self.seq = frame["s"]
        for run in frame["n"] if self.pages is not None else ():
            if run.get("d"):
                assert self.pages.issuperset(self.hashes(run))
                self.pages.difference_update(self.hashes(run))
            else:
                assert self.pages.isdisjoint(self.hashes(run))
                self.pages.update(self.hashes(run))
        assert self.pages is None or len(self.pages) <= self.hello["pg"]

    def on_snapshot(self, frame):
        assert frame["e"] == self.hello["e"]
        seq = frame.get("s", 0)
        if not frame.get("p"):
            self.parts = set()
        for run in frame.get("n", []):
            self.parts.update(self.hashes(run))
        if frame.get("p", 0) + 1 == frame["pc"]:
            assert self.seq in (None, seq), (self.seq, seq)
            assert self.pages is None or self.pages == self.parts, "what CACHE said is not what is there"
            self.pages, self.seq = self.parts, seq

    # ---- what is said ----
    def generate(self, job, frame_epoch=None, certain=True, **fields):
        """Sends it, and remembers it when the worker may take it."""
        call, choice, attempt = job.key
        frame = {"e": frame_epoch or self.epoch, "c": call, "i": choice, "a": attempt, "k": pack_tokens(job.ids + job.want[:job.start]),
                 "np": len(job.ids), "mx": job.mx, "te": 0, "sd": call, "ie": True, **fields}
        self.say(GENERATE, **frame)
        if not self.open or frame_epoch:
            return
        self.count += 1
        same = self.jobs.get(job.key)
        for other in self.jobs.values():
            if other.key[:2] == job.key[:2] and (not other.ended or other.again):
                if other.key[2] < attempt:
                    other.may.add(CANCELLED)
                else:
                    certain = False  # dropped, unless the newer one has ended there
        if same:
            same.again += 1
            return
        job.certain = certain
        self.jobs[job.key] = job

    def cancel(self, key, epoch=None):
        call, choice, attempt = key
        self.say(CANCEL, e=epoch or self.epoch, c=call, i=choice, a=attempt)
        if key in self.jobs and not epoch:
            self.jobs[key].may.add(CANCELLED)

    def unfinished(self):
        return [job for job in self.jobs.values() if not job.ended and job.certain]


class Play:
    def __init__(self, seed, vocab, routers=2, dead_s=3.0):
        self.rng, self.vocab, self.calls = random.Random(seed), vocab, 0
        self.peers = [Peer(i, vocab, dead_s) for i in range(routers)]
        self.dead_s, self.said, self.events = dead_s, [], 0
        self.known = {}  # calls of each peer, sent ever: what later frames may name

    def listen(self, seconds):
        end = time.monotonic() + seconds
        while True:
            for peer in self.peers:
                peer.listen(0)
            if time.monotonic() >= end:
                return
            time.sleep(0.001)

    def until(self, what, seconds, why):
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, (why, [(p.open, p.unfinished()[:3], p.last_load, p.count) for p in self.peers])
            self.listen(0.005)

    # ---- one event ----
    def job(self, key, made=0):
        rng = self.rng
        family = rng.randrange(4)
        ids = [1000 + family] * rng.choice((5, 17, 40, 90)) + [2000 + rng.randrange(3)] * rng.randrange(1, 40)
        return self.continued(Job(key, ids, 0, rng.randrange(1, 40), expected(ids, 40, self.vocab)), made)

    def continued(self, job, made):
        job.start = job.next = min(made, job.mx - 1)
        return job

    def new(self, peer, **extra):
        self.calls += 1
        job = self.job((self.calls % 3 * 10 ** 6 + self.calls, self.rng.randrange(2), self.rng.randrange(1, 4)))
        self.known.setdefault(peer, []).append(job)
        peer.generate(job, **extra)
        return job

    def some(self, peer):
        """A req of before, of which the worker may or may not know."""
        known = self.known.get(peer)
        return known[-1 - min(int(self.rng.expovariate(0.3)), len(known) - 1)] if known else self.new(peer)

    def event(self):
        names, weights = zip(*EVENTS)
        name, peer = self.rng.choices(names, weights)[0], self.rng.choice(self.peers)
        self.events += 1
        self.said = self.said[-40:] + [f"{name}/{peer.number}"]
        getattr(self, "do_" + name)(peer)
        self.listen(self.rng.choice((0, 0, 0.001, 0.003, 0.01)))

    def do_new(self, peer):
        for _ in range(self.rng.choice((1, 1, 1, 2, 12))):
            self.new(peer)

    def do_stop(self, peer):
        job = self.job((10 ** 9 + self.events, 0, 1))
        at = self.rng.randrange(job.mx)
        job.mx = at + 1 if job.want[at] not in job.want[:at] else job.want.index(job.want[at]) + 1
        job.may.add(STOP)
        mx, job.mx = 40, job.mx
        call, choice, attempt = job.key
        fields = {"mx": mx, "st": pack_tokens([job.want[job.mx - 1]]), "ie": False}
        job.start = job.next = 0
        peer.generate(job, **fields)

    def do_deadline(self, peer):
        job = self.job((2 * 10 ** 9 + self.events, 0, 1))
        job.may.add(-TIMEOUT)
        peer.generate(job, dl=self.rng.choice((1, 5, 30)))

    def do_space(self, peer):
        peer.generate(self.job((3 * 10 ** 9 + self.events, 0, 1)), ns=self.rng.randrange(3), pr=self.rng.randrange(-2, 3))

    def do_wrong_token(self, peer):
        job = self.job((4 * 10 ** 9 + self.events, 0, 1))
        job.ids, job.may = job.ids + [self.vocab], {-INVALID}
        peer.generate(job)

    def do_too_long(self, peer):
        job = self.job((5 * 10 ** 9 + self.events, 0, 1))
        job.ids, job.may = [7] * (peer.hello["lm"] + 1 if peer.hello else 10), {-TOO_LONG, -INVALID}
        if peer.hello:
            peer.generate(job)

    def do_reserved(self, peer):
        if peer.hello and not peer.hello.get("ft"):
            job = self.job((6 * 10 ** 9 + self.events, 0, 1))
            job.may = {-UNSUPPORTED}
            peer.generate(job, **self.rng.choice(({"pp": 0.5}, {"lp": 2}, {"am": b"\0\1\2"}, {"lb": b"\0" * 8})))

    def do_newer(self, peer):
        """The next attempt, on top of tokens that an older one made; the older one may still run."""
        self.attempt(peer, self.some(peer), 1, self.rng.randrange(8))

    def do_stale(self, peer):
        self.attempt(peer, self.some(peer), -1, 0)

    def do_twice(self, peer):
        self.attempt(peer, self.some(peer), 0, 0)

    def attempt(self, peer, old, more, made):
        """One after or before the old one's. What was said under that name once is said again."""
        call, choice, attempt = old.key
        key = (call, choice, attempt + more)
        made = next((job.start for job in self.known[peer] if job.key == key), made)
        job = self.continued(Job(key, old.ids, 0, old.mx, old.want), made)
        self.known[peer].append(job)
        if key[2] > 0:
            peer.generate(job)

    def do_wrong_epoch(self, peer):
        self.new(peer, frame_epoch=self.rng.choice((1, peer.epoch + 1, (1 << 64) - 1)))

    def do_cancel(self, peer):
        peer.cancel(self.some(peer).key)

    def do_cancel_other(self, peer):
        call, choice, attempt = self.some(self.rng.choice(self.peers)).key
        peer.cancel((call + 10 ** 12, choice, attempt))
        peer.cancel((call, choice, attempt), epoch=peer.epoch + 1)

    def do_welcome(self, peer):
        peer.welcome(want=self.rng.random() < 0.3)

    def do_welcome_other(self, peer):
        """Of another session or version: nothing."""
        if peer.hello:
            peer.welcome(**self.rng.choice(({"s": peer.hello["s"] + 1}, {"s": peer.hello["s"] - 1, "e": 5}, {"v": 2, "e": 6})))

    def do_snapshot(self, peer):
        peer.say(SNAPSHOT, q=True)

    def do_drain(self, peer):
        peer.say(DRAIN, d=self.rng.random() < 0.5)

    def do_error_of_req(self, peer):
        call, choice, attempt = self.some(peer).key
        peer.say(ERROR, e=peer.epoch, c=call, i=choice, a=attempt, z=7, x="says so")

    def do_error_that_is_none(self, peer):
        peer.say(ERROR, z=self.rng.choice((INTERNAL, QUEUE_FULL, 200)), x="not about the session")

    def do_not_mine(self, peer):
        """Frames that only a worker sends."""
        frame = self.rng.choice(({"t": LOAD, "e": 1, "s": 1, "g": 1, "r": 0, "w": 0, "pf": 0, "dt": 0, "fr": 0, "cr": 9},
                                 {"t": TOKENS, "e": peer.epoch, "s": 1, "n": [{"c": 1, "a": 1, "f": 0, "k": b"\0" * 4}]},
                                 {"t": CACHE, "e": 1, "s": 1, "n": []}, {"t": 77, "x": 1}))
        peer.raw(msgpack.packb(frame))

    def do_bytes(self, peer):
        peer.raw(self.rng.randbytes(self.rng.randrange(200)))

    def do_cut(self, peer):
        """A good frame without its end, one in several parts, one with something behind it."""
        old = self.some(peer)
        call, choice, attempt = old.key
        frame = msgpack.packb({"t": GENERATE, "e": peer.epoch, "c": call, "i": choice, "a": attempt + 5, "k": pack_tokens(old.ids), "np": len(old.ids),
                               "mx": 3, "te": 0, "sd": 1})
        what = self.rng.randrange(3)
        parts = [frame[:self.rng.randrange(1, len(frame))]] if what == 0 else [frame, b"more"] if what == 1 else [frame + b"\0"]
        peer.raw(*parts)

    # ---- events that end a session ----
    def greeted(self, peer):
        """The next session of the peer stands; some say what they should not before they say WELCOME."""
        if self.rng.random() < 0.5:
            peer.tricks.append(lambda: peer.generate(Job((9, 0, 1), [1, 2, 3], 0, 4, expected([1, 2, 3], 4, self.vocab))))
            peer.tricks.append(lambda: peer.say(SNAPSHOT, q=True))
            peer.tricks.append(lambda: peer.welcome(s=peer.hello["s"] + 7))
        self.until(lambda: peer.open, 30, "no HELLO after a session's end")

    def do_bye(self, peer):
        peer.say(BYE, x="fuzz")
        peer.end_session()
        self.greeted(peer)

    def do_error_of_session(self, peer):
        peer.say(ERROR, z=self.rng.choice((NOT_FOUND, CONFLICT)), x="who are you?")
        peer.end_session()
        self.greeted(peer)

    def do_new_epoch(self, peer):
        peer.epoch += 100
        peer.welcome()
        peer.end_session()
        self.greeted(peer)

    def do_rebind(self, peer):
        peer.rebind()
        self.greeted(peer)

    def do_silence(self, peer):
        peer.silent = True
        peer.end_session()
        self.until(lambda: peer.open, self.dead_s * 3 + 30, "the worker did not notice silence")
        peer.silent = False

    # ---- all of it ----
    def run(self, seconds, events=None):
        self.until(lambda: all(p.open for p in self.peers), 60, "no HELLO")
        end = time.monotonic() + seconds
        while time.monotonic() < end and (events is None or self.events < events):
            self.event()
        self.settle()

    def settle(self):
        """All that was taken ends, and nothing is left."""
        self.until(lambda: all(p.open and not p.unfinished() for p in self.peers), 60, "a req never ended")
        self.until(lambda: all(p.last_load and p.last_load["r"] == p.last_load["w"] == 0 and p.last_load["fr"] == p.hello["pg"] and
                               p.last_load["g"] == p.count for p in self.peers), 30, "something is left, or was counted wrong")
        for peer in self.peers:
            peer.parts = None
            peer.say(SNAPSHOT, q=True)
        self.until(lambda: all(p.parts is not None and p.pages == p.parts for p in self.peers), 30, "no snapshot")

    def leave(self, stop):
        """SIGTERM among running reqs: they end, new ones are refused, BYE comes."""
        for peer in self.peers:
            for i in range(3):
                ids = [3000 + i, peer.number]
                peer.generate(Job((10 ** 10 + i, 0, 1), ids, 0, 300, expected(ids, 300, self.vocab)))
        self.listen(0.02)
        running = [job for peer in self.peers for job in peer.unfinished()]
        stop()
        self.until(lambda: all(p.draining or p.gone for p in self.peers), 30, "no DRAIN")
        for peer in self.peers:
            if not peer.gone:
                self.new(peer)
        self.until(lambda: all(p.gone for p in self.peers), 60, "no BYE")
        assert all(job.ended for job in running), running


EVENTS = [("new", 30), ("stop", 4), ("deadline", 3), ("space", 5), ("wrong_token", 2), ("too_long", 1), ("reserved", 2), ("newer", 10), ("stale", 5),
          ("twice", 5), ("wrong_epoch", 3), ("cancel", 10), ("cancel_other", 3), ("welcome", 4), ("welcome_other", 4), ("snapshot", 5), ("drain", 2),
          ("error_of_req", 2), ("error_that_is_none", 2), ("not_mine", 3), ("bytes", 3), ("cut", 4), ("bye", 0.6), ("error_of_session", 1.5),
          ("new_epoch", 1.5), ("rebind", 0.6), ("silence", 0.03)]
