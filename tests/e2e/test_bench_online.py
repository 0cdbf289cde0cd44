"""bench_online sends what the Python load sends, word for word, and its row counts what came."""
import json
import os
import random
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import BUILD, NAME

WORDS = ("the of and to in is that it was for on are as with his they at be this from have or by one had not but what all were when we "
         "there can an your which their said if do will each about how up out them then she many some so these would other into has more "
         "her two like him see time could no make than first been its who now people my made over did down only way find use may water "
         "long little very after words called just where most know").split()
EVENTS, PAUSE_S = 5, 0.02


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(503 if len(self.server.bodies) == self.server.failing else 200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        if len(self.server.bodies) == self.server.failing:
            return
        for _ in range(EVENTS):
            time.sleep(PAUSE_S)
            self.wfile.write(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n')
            self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.bodies, server.failing = [], 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def row(url, work, seed, model="m"):
    made = subprocess.run([os.path.join(BUILD, "bench_online"), url, model, work, str(seed)], capture_output=True, text=True, timeout=120)
    first = made.stdout.splitlines()[0].split(",")
    return made.returncode, first[:2] + [float(x) for x in first[2:]]


def text(r, n):
    return " ".join(r.choice(WORDS) for _ in range(n))


def expected(work, seed):
    kind, a, b = work.split(":")
    system = {"role": "system", "content": text(random.Random(seed), 1500)}
    if kind == "chat":
        for i in range(int(a)):
            q, messages = random.Random(seed * 1000 + i), [system]
            for _ in range(int(b)):
                messages = messages + [{"role": "user", "content": text(q, 120)}]
                yield messages
                messages = messages + [{"role": "assistant", "content": text(q, 150)}]
    else:
        at, q = 0.0, random.Random(seed * 77)
        while at < float(b):
            at += q.expovariate(float(a))
            yield [system, {"role": "user", "content": text(q, 500)}]


@pytest.mark.parametrize("work", ["chat:3:2", "open:20:0.5"])
def test_calls_are_pythons(server, work):
    url = f"http://127.0.0.1:{server.server_port}"
    code, values = row(url, work, 5)
    want = list(expected(work, 5))
    assert code == 0 and values[:4] == ["ONLINE", work, len(want), len(want)]
    rest = {"model": "m", "max_tokens": 150, "temperature": 0.6, "ignore_eos": True, "stream": True}
    key = json.dumps
    assert sorted(map(key, server.bodies)) == sorted(key({"model": "m", "messages": m, **rest}) for m in want)
    seconds, rate, ttft_50, ttft_99, itl_50, itl_99, e2e = values[4:]
    tokens = len(want) * 150  # the seconds are printed with two decimals, the rate is whole
    assert tokens / (seconds + 0.005) - 0.5 <= rate <= tokens / (seconds - 0.005) + 0.5
    assert PAUSE_S * 1e3 * 0.9 <= ttft_50 <= ttft_99 and ttft_50 < e2e
    assert itl_50 <= itl_99 and EVENTS * PAUSE_S * 1e3 * 0.9 <= e2e


def test_a_failed_call_counts(server):
    server.failing = 2
    code, values = row(f"http://127.0.0.1:{server.server_port}", "chat:1:3", 1)
    assert code == 1 and values[2:4] == [3, 2]


@pytest.mark.long
def test_through_router_and_worker(cluster):
    c = cluster(workers=1, worker_args=["--dummy-weights", "--context-max", "8192"])
    code, values = row(c.url(), "chat:2:1", 1, NAME)
    assert code == 0 and values[2:4] == [2, 2]
