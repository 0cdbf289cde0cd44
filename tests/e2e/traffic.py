"""Calls whose answers are known beforehand (worker/engine/sim.h), sent to routers the way a load balancer sends them.

A Balancer asks every router's /ready and gives each call to one that was ready; it never sends a call twice. Traffic keeps
`streams` calls running and notes how each ended:

    ok      the whole text, right to the last byte
    wrong   another text, or another number of tokens: always a bug
    error   an answer other than 200, or an error event
    cut     the connection ended before the answer did
"""
import http.client
import json
import os
import random
import threading
import time

from tokenizers import Tokenizer

M = (1 << 64) - 1
TABLE = '{"launch_us": %d, "token_us": 10, "kv_token_bytes": 65536, "pool_mib": 512}'


def mix(z):
    z = (z + 0x9E3779B97F4A7C15) & M
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M
    return z ^ (z >> 31)


def expected(ids, count, vocab):
    """What worker/engine/sim.h promises."""
    ids, total = list(ids), sum(mix(t << 32 | i) for i, t in enumerate(ids)) & M
    first = min(256, vocab // 2)
    span = min((vocab - first) // 4 * 3, 32768)
    out = []
    for _ in range(count):
        token = first + (mix(total) * span >> 64)
        total = (total + mix(token << 32 | len(ids))) & M
        ids.append(token)
        out.append(token)
    return out


class Texts:
    def __init__(self, model):
        self.tokenizer = Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
        self.vocab = self.tokenizer.get_vocab_size()

    def draw(self, rng, tokens):
        """(prompt ids, tokens to ask for): families of prompts share a prefix."""
        family = rng.randrange(12)
        ids = [1000 + family] * (32 + 16 * family) + [rng.randrange(2000, 20000) for _ in range(20)]
        return ids, rng.randrange(*tokens)

    def of(self, ids, count):
        return self.tokenizer.decode(expected(ids, count, self.vocab), skip_special_tokens=True)


class Outcome:
    def __init__(self, number, router, model):
        self.number, self.router, self.model = number, router, model
        self.began = self.ended = self.last = self.gap_end = time.monotonic()
        self.kind, self.detail, self.gap, self.first, self.tokens = "cut", "", 0.0, None, 0

    def heard(self, now):
        """An event came, or the end: the longest silence is kept."""
        if now - self.last > self.gap:
            self.gap, self.gap_end = now - self.last, now
        self.last = now

    def __repr__(self):
        return (f"call {self.number} of {self.model} on router {self.router}: {self.kind} {self.detail} "
                f"({self.began:.2f} to {self.ended:.2f} s, gap {self.gap:.2f} s until {self.gap_end:.2f})")


class Balancer:
    """Which routers a load balancer would send to: those that said ready when it last asked."""

    def __init__(self, addresses, every_s=0.25):
        self.addresses, self.every_s = addresses, every_s
        self.ready, self.stopping, self.turn = [], False, 0
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _ask(self, address):
        connection = http.client.HTTPConnection(*address, timeout=1)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _run(self):
        while not self.stopping:
            self.ready = [i for i, address in enumerate(self.addresses) if self._ask(address)]
            time.sleep(self.every_s)

    def pick(self):
        with self.lock:
            ready = self.ready
            self.turn += 1
            return ready[self.turn % len(ready)] if ready else None

    def stop(self):
        self.stopping = True
        self.thread.join()


class Traffic:
    def __init__(self, ports, model, streams, seed=1, tokens=(50, 200), limit_s=60, names=(), texts=None):
        """ports: of each router's API, or (host, port). names: models to ask for in turn, all of this folder's
        vocabulary. texts: what is asked and what is right, when the engine is not the sim one."""
        self.addresses = [p if isinstance(p, tuple) else ("127.0.0.1", p) for p in ports]
        self.names, self.texts = list(names) or [os.path.basename(model)], texts or Texts(model)
        self.rng, self.tokens, self.limit_s = random.Random(seed), tokens, limit_s
        self.balancer = Balancer(self.addresses)
        self.lock, self.number, self.stopping, self.outcomes = threading.Lock(), 0, False, []
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(streams)]
        for thread in self.threads:
            thread.start()

    def _next(self):
        """(number, prompt ids, tokens to ask for)"""
        with self.lock:
            self.number += 1
            return self.number, *self.texts.draw(self.rng, self.tokens)

    def _run(self):
        while not self.stopping:
            router = self.balancer.pick()
            if router is None:
                time.sleep(0.05)
                continue
            number, ids, count = self._next()
            outcome = Outcome(number, router, self.names[number % len(self.names)])
            try:
                self._call(outcome, ids, count)
            except (OSError, http.client.HTTPException) as e:
                outcome.kind, outcome.detail = "cut", f"{outcome.detail} {type(e).__name__}: {e}"
            outcome.ended = time.monotonic()
            outcome.heard(outcome.ended)
            self.outcomes.append(outcome)
            if outcome.kind != "ok":
                time.sleep(0.2)

    def _call(self, outcome, ids, count):
        body = json.dumps({"model": outcome.model, "prompt": ids, "max_tokens": count, "temperature": 0, "ignore_eos": True, "stream": True,
                           "stream_options": {"include_usage": True}})
        connection = http.client.HTTPConnection(*self.addresses[outcome.router], timeout=self.limit_s)
        headers = {"Content-Type": "application/json", "X-Request-Id": f"traffic-{outcome.number}"}
        try:
            connection.request("POST", "/v1/completions", body, headers)
            reply = connection.getresponse()
            if reply.status != 200:
                outcome.kind, outcome.detail = "error", f"{reply.status} {reply.read(300)}"
                return
            self._read(outcome, reply, self.texts.of(ids, count), count)
        finally:
            connection.close()

    def _read(self, outcome, reply, want, count):
        text, usage = "", None
        for line in iter(reply.readline, b""):
            if not line.startswith(b"data: "):
                continue
            now = time.monotonic()
            if outcome.first is None:
                outcome.first = now - outcome.began
            outcome.heard(now)
            if line.startswith(b"data: [DONE]"):
                right = text == want and usage == count
                outcome.tokens = usage
                outcome.kind = "ok" if right else "wrong"
                if not right:
                    outcome.detail = f"{usage} of {count} tokens, text {text[-80:]!r} for {want[-80:]!r}"
                return
            event = json.loads(line[6:])
            if "error" in event:
                outcome.kind, outcome.detail = "error", str(event["error"])
                return
            if event.get("usage"):
                usage = event["usage"]["completion_tokens"]
            for choice in event["choices"]:
                text += choice["text"]
                if not want.startswith(text):
                    outcome.kind, outcome.detail = "wrong", f"{text[-80:]!r} is not in {want[:len(text) + 20][-100:]!r}"
                    return

    def stop(self):
        """Lets running calls end; returns all outcomes."""
        self.stopping = True
        for thread in self.threads:
            thread.join(self.limit_s + 30)
            assert not thread.is_alive(), "a call never ended"
        self.balancer.stop()
        return self.outcomes

    def count(self, kind):
        return sum(o.kind == kind for o in self.outcomes)
