"""Tokenizing a long prompt must not stall other streams: a 1 MB prompt beside 50 running streams. A scripted worker in a process of
its own sends every stream a token each 10 ms and keeps the times; a stream's longest silence may exceed the worker's by 20 ms at most."""
import json
import multiprocessing
import os
import selectors
import socket
import sys
import threading
import time

from conftest import MODEL, NAME, SLOW, wait_for

sys.path.insert(0, os.path.dirname(__file__))
STREAMS, STEP_S, HOLD_S = 50, 0.010, 0.020


def scripted(endpoint, stop, times):
    from scripted_worker import ScriptedWorker
    worker = ScriptedWorker(endpoint, MODEL, slots=128, step_s=STEP_S, length_max=1 << 20)
    stop.wait()
    times.put([t for _, t in worker.step_times])
    worker.stop()


def open_stream(port, number):
    body = json.dumps({"model": NAME, "prompt": f"stream {number} says: one two three four", "max_tokens": 100000,
                       "stream": True, "ignore_eos": True}).encode()
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
              b"Content-Length: %d\r\n\r\n" % len(body) + body)
    s.setblocking(False)
    return s


def watch(sockets, seconds):
    """[(socket index, time of each read)] while reading all of them for so long."""
    reads = [[] for _ in sockets]
    with selectors.DefaultSelector() as selector:
        for i, s in enumerate(sockets):
            selector.register(s, selectors.EVENT_READ, i)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for key, _ in selector.select(0.05):
                if key.fileobj.recv(65536):
                    reads[key.data].append(time.monotonic())
    return reads


def longest_gap(times, start, end):
    """Of the gaps that lie, wholly or in part, between start and end."""
    return max((b - a for a, b in zip(times, times[1:]) if b >= start and a <= end), default=0.0)


def held_beside(cluster, body, path="/v1/completions"):
    """[(reply, how much longer than the worker a stream was silent while it was made)] of three such calls beside 50 streams."""
    c = cluster(workers=0, start=False, router_args=["--streams-max", "200"])
    context = multiprocessing.get_context("spawn")
    stop, times = context.Event(), context.Queue()
    process = context.Process(target=scripted, args=(c.wire(), stop, times), daemon=True)
    process.start()
    wait_for(lambda: c._get(0, "/ready") == 200, 30)
    sockets = [open_stream(c.ports[0][0], i) for i in range(STREAMS)]
    watch(sockets, 1)
    spans, replies = [], []

    def ask():
        for _ in range(3):
            time.sleep(0.7)
            start = time.monotonic()
            replies.append(c.post(path, body))
            spans.append((start, time.monotonic()))
    thread = threading.Thread(target=ask)
    thread.start()
    reads = watch(sockets, 8 * SLOW)
    thread.join(60 * SLOW)
    for s in sockets:
        s.close()
    stop.set()
    steps = times.get(timeout=20)
    process.join(20)
    held = [max(longest_gap(r, start, end) for r in reads) - longest_gap(steps, start, end) for start, end in spans]
    print("held, ms:", [round(h * 1000, 1) for h in held], "span, s:", [round(b - a, 2) for a, b in spans])
    assert all(len(r) > 100 for r in reads)
    return replies, held, [b - a for a, b in spans]


def test_long_prompt_stalls_nobody(cluster):
    long_prompt = ("The quick brown fox jumps over 12 lazy dogs; naïve café 日本語. " * 20000)[:1 << 20]
    replies, held, _ = held_beside(cluster, {"model": NAME, "prompt": long_prompt, "max_tokens": 1})
    assert [r.status_code for r in replies] == [200] * 3, replies[0].text[:300]
    assert replies[0].json()["usage"]["prompt_tokens"] > 200_000
    assert sorted(held)[1] <= HOLD_S * SLOW, held


def test_slow_grammar_stalls_nobody(cluster):
    """Some letters of an expression may keep the compiler busy for half a second: not the loop, small though the body is."""
    body = {"model": NAME, "prompt": "x", "max_tokens": 1, "guided_regex": "(.?x.?y?){120}"}
    replies, held, took = held_beside(cluster, body)
    assert [r.status_code for r in replies] == [400] * 3 and "too many states" in replies[0].text, replies[0].text
    assert min(took) > 3 * HOLD_S, "no longer slow: it proves nothing"
    assert sorted(held)[1] <= HOLD_S * SLOW, held
