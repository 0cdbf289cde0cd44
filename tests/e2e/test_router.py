"""The router alone, with scripted workers: text, limits, failover, credits, cache reports, leaving."""
import http.client
import json
import os
import shutil
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from conftest import MODEL, NAME, SLOW, wait_for
from scripted_worker import BYE, CANCEL, DRAIN, GENERATE, SNAPSHOT, ScriptedWorker, bytes_of, ids_of

TEXT = "Grüße aus Köln: 你好, мир! 🙂👩‍👩‍👧 and then some plain words, 12345 of them."


class Bench:
    """A router and the scripted workers that a test asks for."""

    def __init__(self, cluster, **kwargs):
        self.c = cluster(workers=0, start=False, **kwargs)
        self.workers = []

    def worker(self, name="scripted", **kwargs):
        worker = ScriptedWorker(self.c.wire(), kwargs.pop("model", MODEL), name=name, **kwargs)
        self.workers.append(worker)
        wait_for(lambda: worker.welcomed or worker.refusals, 10)
        return worker

    def post(self, path="/v1/completions", stream=False, **body):
        return self.c.post(path, {"stream": stream, **body}, stream=stream)

    def text(self, prompt=TEXT, tokens=30, **body):
        reply = self.post(prompt=prompt, max_tokens=tokens, **body)
        assert reply.status_code == 200, reply.text
        return reply.json()["choices"][0]["text"]


@pytest.fixture
def bench(cluster):
    made = []

    def make(*args, **kwargs):
        made.append(Bench(cluster, router_args=list(args), **kwargs))
        return made[-1]
    yield make
    for b in made:
        for worker in b.workers:
            worker.stop()


def events(reply):
    """All JSON events of a stream; checks its framing."""
    out, done = [], False
    for line in reply.iter_lines():
        if not line or line.startswith(b":"):
            continue
        assert line.startswith(b"data: ") and not done, line
        if line == b"data: [DONE]":
            done = True
        else:
            out.append(json.loads(line[6:]))
    assert done
    return out


def joined(stream):
    return "".join(e["choices"][0]["text"] for e in stream if e.get("choices"))


# ---- text ----

def test_text_comes_back_whole_and_streamed(bench):
    b = bench()
    b.worker()
    whole = b.text(tokens=60)
    assert whole.startswith(TEXT) and "\ufffd" not in TEXT
    assert joined(events(b.post(prompt=TEXT, max_tokens=60, stream=True))) == whole
    for tokens in range(1, 24):  # cut anywhere: never half a character on the way, U+FFFD at the very end at most
        cut = b.text(tokens=tokens)
        assert TEXT.startswith(cut.rstrip("\ufffd")) and "\ufffd" not in cut.rstrip("\ufffd")
        assert joined(events(b.post(prompt=TEXT, max_tokens=tokens, stream=True))) == cut


@pytest.mark.parametrize("stream", [False, True])
def test_stop_at_every_place(bench, stream):
    b = bench()
    worker = b.worker()
    for begin in range(0, 48, 3):
        for length in (1, 2, 5):
            stop = TEXT[begin:begin + length]
            expected = TEXT[:TEXT.index(stop)]
            reply = b.post(prompt=TEXT, max_tokens=70, stop=[stop, "not in it"], stream=stream)
            if stream:
                found = events(reply)
                text, finish = joined(found), found[-1]["choices"][0]["finish_reason"]
            else:
                choice = reply.json()["choices"][0]
                text, finish = choice["text"], choice["finish_reason"]
            assert (text, finish) == (expected, "stop"), stop
    wait_for(lambda: not worker.reqs, 5)  # a stop string cancels the req


def test_stop_options(bench):
    b = bench()
    b.worker()
    assert b.text(prompt="one two three four", stop="three", include_stop_str_in_output=True) == "one two three"
    assert "three" in b.text(prompt="one two three four", stop="two", min_tokens=4)
    reply = b.post(prompt="one two three", max_tokens=50, stop="ree o").json()  # across the repeat: "three" + "one"
    assert reply["choices"][0]["finish_reason"] in ("stop", "length")


def test_echo_lists_and_choices(bench):
    b = bench()
    b.worker()
    assert b.text(prompt="one two", tokens=2, echo=True) == "one twoone two"
    reply = b.post(prompt=["red green", "blue yellow"], max_tokens=2, n=2).json()
    assert [c["index"] for c in reply["choices"]] == [0, 1, 2, 3]
    assert [c["text"] for c in reply["choices"]] == ["red green"] * 2 + ["blue yellow"] * 2
    assert reply["usage"]["completion_tokens"] == 8
    chunks = events(b.post(prompt=["red green", "blue yellow"], max_tokens=2, n=2, stream=True))
    by = {i: "".join(c["choices"][0]["text"] for c in chunks if c["choices"][0]["index"] == i) for i in range(4)}
    assert by == {0: "red green", 1: "red green", 2: "blue yellow", 3: "blue yellow"}
    ids = b.post(prompt=[[5, 6, 7], [8, 9]], max_tokens=1).json()
    assert ids["usage"]["prompt_tokens"] == 5


def test_what_goes_over_the_wire(bench):
    b = bench()
    worker = b.worker()
    b.post(prompt=[5, 6, 7], max_tokens=9, temperature=0.5, top_p=0.25, top_k=7, min_p=0.125, seed=-3, min_tokens=2,
           stop_token_ids=[77], priority=-4)
    frame = worker.frames(GENERATE)[0]
    assert ids_of(frame["k"]) == [5, 6, 7] and frame["np"] == 3 and frame["mx"] == 9 and frame["mn"] == 2
    assert (frame["te"], frame["tp"], frame["tk"], frame["mp"], frame["pr"]) == (0.5, 0.25, 7, 0.125, -4)
    assert frame["sd"] == 2 ** 64 - 3 and set(ids_of(frame["st"])) == {2, 77} and frame["a"] == 1
    b.post(prompt=[5, 6, 7])
    frame = worker.frames(GENERATE)[1]
    with open(os.path.join(MODEL, "generation_config.json")) as f:
        defaults = json.load(f)  # of the model's folder, as vLLM takes them; the rest is OpenAI's
    assert frame["mx"] == 16 and "tk" not in frame
    assert frame["te"] == pytest.approx(defaults.get("temperature", 1.0), abs=1e-6)
    assert frame.get("tp", 1.0) == pytest.approx(defaults.get("top_p", 1.0), abs=1e-6)
    b.post(prompt=[5], ignore_eos=True)
    assert worker.frames(GENERATE)[2].get("ie") is True
    seeds = {worker.frames(GENERATE)[i]["sd"] for i in (1, 2)}
    assert len(seeds) == 2  # drawn for each call
    b.post("/v1/chat/completions", messages=[{"role": "user", "content": "hi"}], stop_token_ids=[40])
    frame = worker.frames(GENERATE)[3]
    assert frame["mx"] == 8192 - frame["np"]


def test_a_models_own_repetition_penalty(bench, tmp_path):
    """generation_config.json's holds where a request gives none, as vLLM has it; on workers without penalties
    only a request that asks for one is refused."""
    folder = os.path.join(str(tmp_path), NAME)
    shutil.copytree(MODEL, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    with open(os.path.join(folder, "generation_config.json"), "w", encoding="utf-8") as f:
        json.dump({"repetition_penalty": 1.25}, f)
    b = bench(model=folder)
    worker = b.worker(model=folder)
    for asked in (None, 1.5, 1):
        b.text("a b", **({} if asked is None else {"repetition_penalty": asked}))
    assert [f.get("rp", 1) for f in worker.frames(GENERATE)] == [1.25, 1.5, 1]
    plain = bench(model=folder)
    worker = plain.worker(model=folder, ft=0)
    plain.text("a b")
    assert "rp" not in worker.frames(GENERATE)[0]
    refused = plain.post(prompt="a b", repetition_penalty=1.25)
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "repetition_penalty"


def test_eos_says_nothing_but_counts(bench):
    b = bench()
    b.worker()
    reply = b.post(prompt=[100, 200, 2, 300], max_tokens=10).json()
    assert reply["choices"][0]["finish_reason"] == "stop" and reply["usage"]["completion_tokens"] == 3
    two = b.post(prompt=[100, 200], max_tokens=2).json()["choices"][0]["text"]
    assert reply["choices"][0]["text"] == two
    with_id = b.post(prompt=[100, 200, 300], max_tokens=10, stop_token_ids=[300]).json()["choices"][0]
    assert (with_id["text"], with_id["finish_reason"]) == (two, "stop")


def test_usage_in_streams(bench):
    b = bench()
    b.worker()
    found = events(b.post(prompt="a b c d", max_tokens=4, stream=True,
                          stream_options={"include_usage": True, "continuous_usage_stats": True}))
    assert found[-1]["choices"] == [] and found[-1]["usage"]["completion_tokens"] == 4
    assert [e["usage"]["completion_tokens"] for e in found] == [1, 2, 3, 4, 4]
    plain = events(b.post(prompt="a b c d", max_tokens=4, stream=True))
    assert all("usage" not in e for e in plain)


def test_first_chunk_waits_for_a_token(bench):
    b = bench()
    worker = b.worker()
    worker.pause = True
    reply = []

    def ask():
        reply.append(b.post("/v1/chat/completions", messages=[{"role": "user", "content": "hi"}], max_tokens=3, stream=True))
        reply.append(time.monotonic())
    thread = threading.Thread(target=ask)
    thread.start()
    wait_for(lambda: worker.reqs, 5)
    time.sleep(0.3)
    assert not reply  # not even the head
    worker.pause = False
    thread.join(5)
    found = events(reply[0])
    assert found[0]["choices"][0]["delta"]["role"] == "assistant" and found[0]["choices"][0]["delta"]["content"]
    assert all("role" not in e["choices"][0]["delta"] for e in found[1:])


# ---- failover ----

def start_stream(b, tokens=200, prompt="alpha beta gamma delta epsilon", **fields):
    reply = b.post(prompt=prompt, max_tokens=tokens, stream=True, **fields)
    assert reply.status_code == 200
    return reply


@pytest.mark.parametrize("how", ["kill", "mute", "bye", "gap", "error", "finish_error", "rehello"])
def test_stream_survives(bench, how):
    b = bench()
    workers = [b.worker(f"w{i}", step_s=0.01) for i in range(2)]
    whole = b.text(prompt="alpha beta gamma delta epsilon", tokens=200)
    reply = start_stream(b)
    holder = wait_for(lambda: next((w for w in workers if any(r.done > 20 for r in w.reqs.values())), None), 10)
    with holder.lock:
        req = next(iter(holder.reqs.values()))
        if how == "kill":
            threading.Thread(target=holder.kill).start()
        elif how == "mute":
            holder.mute = True
        elif how == "bye":
            holder.send({"t": BYE})
            holder.reqs.clear()
        elif how == "gap":
            req.done += 1
        elif how == "error":
            del holder.reqs[req.key]
            holder.send({"t": 6, "e": req.epoch, "c": req.key[0], "a": req.key[2], "z": 7, "x": "out of luck"})
        elif how == "finish_error":
            del holder.reqs[req.key]
            holder.send({"t": 5, "e": req.epoch, "s": 1, "n": [holder.finish_item(req, finish=4)]})
        else:
            holder._begin()
    began = time.monotonic()
    assert joined(events(reply)) == whole
    assert time.monotonic() - began < 6 * SLOW
    assert b.c.metric("msgl_router_resumed_total") == 1
    assert b.c.metric("msgl_router_streams") == 0
    second = [f for w in workers for f in w.frames(GENERATE) if f["a"] == 2][0]
    first = [f for w in workers for f in w.frames(GENERATE) if f["a"] == 1 and f["c"] == second["c"]][0]
    assert second["sd"] == first["sd"] and second["np"] == first["np"] and len(second["k"]) > len(first["k"])


def test_retried_before_the_first_token(bench):
    b = bench()
    first = b.worker("w0")
    first.on_generate = lambda w, r: w.send({"t": 6, "e": r.epoch, "c": r.key[0], "a": r.key[2], "z": 7, "x": "no"}) or True
    b.worker("w1")
    assert [b.text(prompt="x y z", tokens=5) for _ in range(6)] == [b.text(prompt="x y z", tokens=5)] * 6
    assert b.c.metric("msgl_router_retried_total") >= 1
    assert b.c.metric("msgl_router_workers") == 2


def test_late_tokens_of_a_lost_attempt_are_dropped(bench):
    b = bench()
    slow, other = b.worker("w0", step_s=0.01), b.worker("w1", step_s=0.01)
    whole = b.text(prompt="one two three four five", tokens=100)
    reply = start_stream(b, 100, prompt="one two three four five")
    holder = wait_for(lambda: next((w for w in (slow, other) if any(r.done > 10 for r in w.reqs.values())), None), 10)
    old = next(iter(holder.reqs.values()))
    with holder.lock:
        holder.mute = True
        del holder.reqs[old.key]
    rival = other if holder is slow else slow
    wait_for(lambda: rival.reqs, 10)
    holder.mute = False  # as after SIGCONT: the old attempt's tokens come late
    for n in range(40):
        holder.send({"t": 5, "e": old.epoch, "s": n, "n": [holder.finish_item(old, [17], first=old.done + n)]})
    assert joined(events(reply)) == whole
    wait_for(lambda: b.c.metric("msgl_router_workers") == 2, 10)


def test_client_errors_come_through(bench):
    b = bench()
    worker = b.worker()
    worker.on_generate = lambda w, r: w.send({"t": 6, "e": r.epoch, "c": r.key[0], "a": r.key[2], "z": 1, "x": "bad idea"}) or True
    reply = b.post(prompt="x")
    assert reply.status_code == 400 and reply.json()["error"]["message"] == "bad idea"
    assert len(worker.frames(GENERATE)) == 1 and b.c.metric("msgl_router_workers") == 1


def test_queue_full_is_no_fault(bench):
    b = bench()
    worker = b.worker()
    refused = []

    def refuse(w, r):
        if len(refused) < 3:
            refused.append(w.send({"t": 6, "e": r.epoch, "c": r.key[0], "a": r.key[2], "z": 6, "x": "full"}))
            return True
        return False
    worker.on_generate = refuse
    assert b.text(prompt="one two", tokens=2) == "one two"
    assert [f["a"] for f in worker.frames(GENERATE)] == [1, 2, 3, 4]


def test_nowhere_to_go(bench):
    b = bench("--failover-wait-s", "1")
    assert b.post(prompt="x").status_code == 503
    worker = b.worker(step_s=0.01)
    reply = start_stream(b, 500)
    wait_for(lambda: any(r.done > 5 for r in worker.reqs.values()), 5)
    worker.kill()
    found = events(reply)
    assert "worker" in found[-1]["error"]["message"] and found[-1]["error"]["code"] == 503
    again = b.post(prompt="x")
    assert again.status_code == 503 and int(again.headers["Retry-After"]) >= 1
    assert requests.get(b.c.url() + "/ready").status_code == 503


def test_worker_comes_back_in_time(bench):
    b = bench("--failover-wait-s", "10")
    worker = b.worker(step_s=0.01)
    whole = b.text(prompt="alpha beta gamma delta epsilon", tokens=200)
    reply = start_stream(b)
    wait_for(lambda: any(r.done > 5 for r in worker.reqs.values()), 5)
    worker.kill()
    time.sleep(0.5)
    b.worker(step_s=0.002)  # same name, new epoch
    assert joined(events(reply)) == whole


# ---- clients that leave, or do not read ----

def raw_post(b, body):
    s = socket.create_connection(("127.0.0.1", b.c.ports[0][0]))
    data = json.dumps(body).encode()
    s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
    return s


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("tokens_first", [False, True])
def test_client_leaves(bench, stream, tokens_first):
    b = bench()
    worker = b.worker(step_s=0.02)
    worker.pause = not tokens_first
    s = raw_post(b, {"prompt": "one two three", "max_tokens": 5000, "stream": stream})
    wait_for(lambda: any(r.done >= (3 if tokens_first else 0) for r in worker.reqs.values()), 5)
    began = time.monotonic()
    s.close()
    wait_for(lambda: worker.frames(CANCEL), 2, every=0.002)
    assert time.monotonic() - began < 0.25 * SLOW
    wait_for(lambda: b.c.metric("msgl_router_streams") == 0, 2)
    worker.pause = False
    assert b.text(prompt="one two", tokens=2) == "one two"


def test_client_leaves_while_queued(bench):
    b = bench()
    worker = b.worker(slots=1)
    worker.pause = True
    first = raw_post(b, {"prompt": "one", "max_tokens": 100})
    wait_for(lambda: worker.reqs, 5)
    second = raw_post(b, {"prompt": "two", "max_tokens": 100})
    wait_for(lambda: b.c.metric("msgl_router_queued") == 1, 5)
    second.close()
    wait_for(lambda: b.c.metric("msgl_router_queued") == 0, 2)
    first.close()
    wait_for(lambda: b.c.metric("msgl_router_streams") == 0, 2)
    assert len(worker.frames(GENERATE)) == 1


def test_slow_reader_is_cut_off(bench):
    b = bench("--stream-buffer-kib", "64")
    worker = b.worker(step_s=0.0002, length_max=1000000)
    s = raw_post(b, {"prompt": "one two three", "max_tokens": 900000, "stream": True, "ignore_eos": True})
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wait_for(lambda: worker.frames(CANCEL), 60)
    assert b.c.metric("msgl_router_streams") == 0
    rss = b.c.routers[0].rss_mib()
    s.close()
    assert rss < 100 * SLOW


def test_slow_reader_that_catches_up(bench):
    """The kernel takes parts of events and then nothing for a while: not a byte is lost."""
    b, count = bench("--stream-buffer-kib", "65536"), 1500
    b.worker(step_s=0.0002, length_max=1000000)
    body = json.dumps({"text": "one two three", "stream": True, "sampling_params": {
        "max_new_tokens": count, "ignore_eos": True}}).encode()  # events that repeat the text: 10 MB
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", b.c.ports[0][0]))
        s.sendall(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        with http.client.HTTPResponse(s) as answer:  # checks the chunks
            answer.begin()
            wait_for(lambda: b.c.metric("msgl_router_generated_tokens_total") == count, 30)
            lines = answer.read().split(b"\n\n")
    assert lines[-2:] == [b"data: [DONE]", b""] and len(lines) == count + 2
    texts = [json.loads(line[6:])["text"] for line in lines[:-2]]
    assert all(longer.startswith(text) for text, longer in zip(texts, texts[1:]))
    assert texts[-1] == b.text(prompt="one two three", tokens=count, ignore_eos=True)


def test_keep_alive_and_pipelining(bench):
    b = bench()
    b.worker()
    body = json.dumps({"prompt": "one two", "max_tokens": 2}).encode()
    request = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with socket.create_connection(("127.0.0.1", b.c.ports[0][0])) as s:
        s.sendall(request * 5)
        data = b""
        while data.count(b'"text":"one two"') < 5:
            more = s.recv(65536)
            assert more, data
            data += more


# ---- fleet ----

@pytest.mark.parametrize("hello,z,words", [
    ({"v": 2}, 16, "version"), ({"m": "other"}, 4, "other"), ({"fp": 1}, 16, "config.json"),
    ({"th": 1}, 16, "tokenizer.json"), ({"wh": 2}, 16, "weights"),
])
def test_refused(bench, hello, z, words):
    b = bench()
    b.worker("good")
    bad = b.worker("bad", **hello)
    assert not bad.welcomed and bad.refusals[0]["z"] == z and words in bad.refusals[0]["x"], bad.refusals
    assert b.c.metric("msgl_router_workers") == 1


def test_noise_on_the_wire(bench):
    import random

    import zmq
    b = bench()
    b.worker()
    rng = random.Random(7)
    context = zmq.Context()
    peer = context.socket(zmq.DEALER)
    peer.linger = 0
    peer.setsockopt(zmq.ROUTING_ID, b"noise")
    peer.connect(b.c.wire())
    import msgpack
    for i in range(3000):
        frame = {"t": rng.randrange(0, 14), "e": rng.getrandbits(64), "c": rng.getrandbits(8), "a": 1, "s": rng.getrandbits(20),
                 "n": [], "p": 0, "pc": 1, "z": rng.randrange(20), "w": "noise", "v": 1, "f": 0, "k": b"\0" * rng.randrange(9)}
        peer.send(msgpack.packb(frame) if i % 2 else rng.randbytes(rng.randrange(100)))
    peer.send_multipart([b"two", b"parts"])
    assert peer.poll(3000)  # told to say HELLO
    assert b"HELLO" in peer.recv()
    peer.close()
    context.term()
    assert b.text(prompt="one two", tokens=2) == "one two"
    assert b.c.metric("msgl_router_workers") == 1 and b.c.metric("msgl_router_corrupt_frames_total") > 100


def test_hostile_worker_reports(bench):
    """TOKENS for reqs it does not have, more tokens than asked for, a flood of pages: nobody else suffers."""
    b = bench()
    good, bad = b.worker("good", step_s=0.005), b.worker("bad", pages=100)
    bad.pause = True
    reply = start_stream(b, 100)
    wait_for(lambda: good.reqs or bad.reqs, 5)
    key = next(iter((good.reqs or bad.reqs).values())).key
    for n in range(50):
        bad.send({"t": 5, "e": bad.router_epoch, "s": n, "n": [{"c": key[0], "a": key[2], "f": n, "k": bytes_of([9] * 50)}]})
    bad.seq += 1
    bad.send({"t": 7, "e": bad.epoch, "s": bad.seq, "n": [{"p": 0, "h": os.urandom(8 * 5000)}]})
    if bad.reqs:
        bad.pause = False
    text = joined(events(reply))
    assert "alpha beta gamma delta epsilonalpha" in text
    wait_for(lambda: sum(v for (n, l), v in b.c.metrics().items() if n == "msgl_router_index_pages" and "bad" in l) == 100, 5)


def test_credits_are_never_passed(bench):
    b = bench()
    workers = [b.worker(f"w{i}", slots=3, step_s=0.002) for i in range(2)]
    peak = []

    def watch(w, r):
        peak.append(len(w.reqs) + 1)
        return False
    for w in workers:
        w.on_generate = watch
    with ThreadPoolExecutor(40) as pool:
        texts = list(pool.map(lambda i: b.text(prompt=f"number {i}", tokens=20), range(120)))
    assert all(t.startswith(f"number {i}") for i, t in enumerate(texts))
    assert max(peak) <= 3 and len(peak) == 120
    assert b.c.metric("msgl_router_queued") == 0 and b.c.metric("msgl_router_streams") == 0


def test_full_queue(bench):
    b = bench("--queue-max", "2")
    worker = b.worker(slots=1)
    worker.pause = True
    sockets = [raw_post(b, {"prompt": "one", "max_tokens": 5}) for _ in range(3)]
    wait_for(lambda: b.c.metric("msgl_router_queued") == 2, 5)
    reply = b.post(prompt="one")
    assert reply.status_code == 429 and int(reply.headers["Retry-After"]) >= 1
    assert reply.json()["error"]["type"] == "rate_limit_error"
    worker.pause = False
    for s in sockets:
        assert b"200 OK" in s.recv(65536)


def test_cache_reports_and_gaps(bench):
    b = bench()
    worker = b.worker()
    pages = lambda: b.c.metric("msgl_router_index_pages")
    b.text(prompt=list(range(10, 110)), tokens=1)
    wait_for(lambda: pages() == 6, 5)
    worker.report_cache = False  # this report is lost on the way
    b.text(prompt=list(range(200, 264)), tokens=1)
    worker.report_cache = True
    b.text(prompt=list(range(300, 332)), tokens=1)
    wait_for(lambda: worker.frames(SNAPSHOT), 5)
    wait_for(lambda: pages() == len(worker.cache) == 12, 5)
    assert b.c.metric("msgl_router_cache_gaps_total") == 1
    worker.kill()
    wait_for(lambda: pages() == 0, 5)


def test_prefix_goes_home_and_bursts_stay_together(bench):
    b = bench()
    workers = [b.worker(f"w{i}") for i in range(4)]
    for w in workers:
        w.report_cache = False  # the router has only its own expectation
    shared = list(range(1000, 1400))
    for w in workers:
        w.pause = True
    with ThreadPoolExecutor(4) as pool:
        burst = [pool.submit(b.text, prompt=shared + [i] * 8, tokens=1) for i in range(4)]
        wait_for(lambda: sum(len(w.reqs) for w in workers) == 4, 5)
        assert sorted(len(w.reqs) for w in workers) == [0, 0, 0, 4]
        for w in workers:
            w.pause = False
        assert all(f.result() for f in burst)


def test_prefix_beats_turns_until_load_says_no(bench):
    b = bench()
    workers = [b.worker(f"w{i}", slots=500) for i in range(2)]
    home = list(range(2000, 2160))
    b.text(prompt=home, tokens=1)
    wait_for(lambda: b.c.metric("msgl_router_index_pages") == 10, 5)
    owner = next(w for w in workers if w.cache)
    for i in range(5):
        reply = b.post(prompt=home + [i] * 4, max_tokens=1).json()
        assert reply["usage"]["prompt_tokens_details"]["cached_tokens"] == 160
    assert len(owner.frames(GENERATE)) == 6
    owner.pause = True  # reqs pile up at home
    sockets = [raw_post(b, {"prompt": home + [i] * 4, "max_tokens": 1}) for i in range(40)]
    other = next(w for w in workers if w is not owner)
    wait_for(lambda: other.frames(GENERATE), 5)
    wait_for(lambda: len(owner.reqs) >= 2, 5)
    assert len(owner.reqs) < 40
    owner.pause = False
    for s in sockets:
        assert b"200 OK" in s.recv(65536)


def test_round_robin_and_least(bench):
    for policy in ("rr", "least"):
        b = bench("--policy", policy)
        workers = [b.worker(f"w{i}") for i in range(3)]
        for _ in range(12):
            b.text(prompt="same prompt", tokens=1)
        assert [len(w.frames(GENERATE)) for w in workers] == [4, 4, 4]
        for w in workers:
            w.stop()


def test_worker_drains(bench):
    b = bench()
    leaving, staying = b.worker("w0"), b.worker("w1")
    leaving.draining = True
    wait_for(lambda: b.c.metric("msgl_router_workers") == 1, 5)
    for _ in range(5):
        b.text(prompt="one", tokens=1)
    assert not leaving.frames(GENERATE) and len(staying.frames(GENERATE)) == 5


def test_a_new_router_waits_for_each_model(cluster, tmp_path, bench):
    """Workers of one model have found it; a call for the other one would fail although its worker is about to come."""
    other = tmp_path / "Other"
    shutil.copytree(MODEL, other, symlinks=True, ignore=shutil.ignore_patterns("*.safetensors"))
    b = bench("--model", str(other), "--failover-wait-s", str(int(4 * SLOW)))
    began = time.monotonic()
    b.worker("one")
    ready = requests.get(b.c.url() + "/ready")
    assert ready.status_code == 503 and "has no worker yet" in ready.text
    second = b.worker("two", model=str(other))
    wait_for(lambda: b.c._get(0, "/ready") == 200, 2)
    assert time.monotonic() - began < 4 * SLOW
    second.stop()
    wait_for(lambda: b.c.metric("msgl_router_workers") == 1, 10)
    wait_for(lambda: b.c._get(0, "/ready") == 200, 10)  # for ever it does not wait


def test_two_models(cluster, tmp_path, bench):
    other = tmp_path / "Other"
    shutil.copytree(MODEL, other, symlinks=True, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((other / "config.json").read_text())
    config["rope_theta"] = 4242.0
    (other / "config.json").write_text(json.dumps(config))
    b = bench("--model", str(other))
    one = b.worker("w0")
    assert b.post(prompt="x", model="Other").status_code == 503
    two = b.worker("w1", model=str(other))
    assert b.post(prompt="one two", max_tokens=2, model="Other").json()["model"] == "Other"
    assert b.post(prompt="one two", max_tokens=2, model=NAME).json()["model"] == NAME
    assert len(one.frames(GENERATE)) == len(two.frames(GENERATE)) == 1
    assert b.post(prompt="x").status_code == 400  # which one?
    assert [m["id"] for m in requests.get(b.c.url() + "/v1/models").json()["data"]] == [NAME, "Other"]


# ---- limits, keys, leaving ----

def test_api_key(bench):
    b = bench("--api-key", "sesame")
    b.worker()
    assert b.post(prompt="x").status_code == 401
    url = b.c.url() + "/v1/models"
    assert requests.get(url, headers={"Authorization": "Bearer sesamE"}).status_code == 401
    assert requests.get(url, headers={"Authorization": "Bearer sesame"}).status_code == 200
    assert requests.get(b.c.url() + "/health").status_code == 200


def test_lengths(bench):
    b = bench()
    b.worker(length_max=100)
    error = b.post(prompt=[5] * 100).json()["error"]
    assert "100 tokens" in error["message"] and error["code"] == "context_length_exceeded"
    error = b.post(prompt=[5] * 90, max_tokens=11).json()["error"]
    assert "90" in error["message"] and "100" in error["message"] and error["param"] == "max_tokens"
    assert b.post(prompt=[5] * 90, max_tokens=10).status_code == 200
    assert b.post(prompt=[5] * 95).json()["usage"]["completion_tokens"] == 5  # 16, but only 5 fit
    b.worker("long", length_max=1000)
    assert b.post(prompt=[5] * 500, max_tokens=10).status_code == 200


def test_body_limit_is_json(bench):
    b = bench("--body-max-mib", "1")
    b.worker()
    with socket.create_connection(("127.0.0.1", b.c.ports[0][0])) as s:
        s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n")
        head, _, body = s.recv(4096).partition(b"\r\n\r\n")
    assert b" 413 " in head and json.loads(body)["error"]["code"] == 413
    with socket.create_connection(("127.0.0.1", b.c.ports[0][0])) as s:
        s.sendall(b"NONSENSE\r\n\r\n")
        head, _, body = s.recv(4096).partition(b"\r\n\r\n")
    assert b" 400 " in head  # not HTTP at all: h2o's own words


@pytest.mark.parametrize("start,drop", [
    (b"", b""), (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n"),
    (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", b" "),
], ids=["silent", "head", "body"])
def test_slow_loris_is_cut_off(bench, start, drop):
    """A request must arrive whole within --idle-timeout-s, however often a byte of it comes."""
    b = bench("--idle-timeout-s", "1")
    b.worker()
    with socket.create_connection(("127.0.0.1", b.c.ports[0][0])) as s:
        began = time.monotonic()
        s.sendall(start)
        s.settimeout(0.2)
        while True:
            assert time.monotonic() - began < 4 * SLOW
            try:
                s.sendall(drop)
                if s.recv(4096) == b"":
                    break
            except socket.timeout:
                continue
            except OSError:  # reset: cut off as well
                break
        assert time.monotonic() - began > 0.8
    assert b.text(prompt="one two", tokens=2) == "one two"


@pytest.mark.parametrize("body,status", [
    ({"prompt": list(range(1000, 41000)) * 50}, 400),                      # two million ids
    ({"prompt": "word " * 2_500_000}, 400), ({"prompt": ["x"] * 200_000}, 400),
    ({"prompt": "x", "stop": ["y" * 1_000_000] * 12}, 400),
    ({"prompt": "x", "unknown": [{"a": [1] * 20}] * 150_000}, 400),
    ({"prompt": "x", "metadata": [{"a": [1] * 20}] * 150_000}, 200),       # taken, and not looked at
], ids=["ids", "text", "prompts", "stop", "unknown", "metadata"])
def test_huge_bodies(bench, body, status):
    """Legal JSON of up to --body-max-mib: an answer, no memory kept, and nobody else waits for long."""
    b = bench()
    b.worker()
    waits, reply = [], []
    thread = threading.Thread(target=lambda: reply.append(b.post(max_tokens=1, **body)))
    thread.start()
    while thread.is_alive():
        began = time.monotonic()
        assert requests.get(b.c.url() + "/health", timeout=10 * SLOW).status_code == 200
        waits.append(time.monotonic() - began)
        time.sleep(0.01)
    assert reply[0].status_code == status, reply[0].text[:300]
    assert max(waits) < 0.5 * SLOW, max(waits)
    wait_for(lambda: b.c.routers[0].rss_mib() < 150 * SLOW, 5)


def test_drain(bench):
    b = bench()
    worker = b.worker(step_s=0.01)
    reply = start_stream(b, 100)
    wait_for(lambda: worker.reqs, 5)
    b.c.routers[0].popen.send_signal(signal.SIGTERM)
    wait_for(lambda: worker.frames(DRAIN), 5)
    with pytest.raises(requests.ConnectionError):
        requests.get(b.c.url() + "/health", timeout=2)
    assert len(events(reply)) >= 90
    assert b.c.routers[0].popen.wait(10) == 0
    wait_for(lambda: worker.frames(BYE), 5)


def test_drain_has_an_end(bench):
    b = bench("--drain-timeout", "1")
    worker = b.worker()
    worker.pause = True
    s = raw_post(b, {"prompt": "one", "max_tokens": 5})
    wait_for(lambda: worker.reqs, 5)
    b.c.routers[0].popen.send_signal(signal.SIGTERM)
    assert b" 503 " in s.recv(4096)
    assert b.c.routers[0].popen.wait(10 * SLOW) == 0


def test_request_timeout(bench):
    b = bench("--request-timeout-s", "1")
    worker = b.worker()
    worker.pause = True
    assert b.post(prompt="x").status_code == 504
    wait_for(lambda: worker.frames(CANCEL), 5)


def test_idle_memory(bench):
    b = bench()
    b.worker()
    b.text(prompt="one two", tokens=2)
    assert b.c.routers[0].rss_mib() < 60 * (20 if SLOW > 1 else 1)


def test_long_prompts_on_threads(bench):
    """Bodies beyond --inline-bytes are read on threads; clients that leave meanwhile are forgotten afterwards."""
    b = bench()
    b.worker(length_max=1 << 20)
    words = [f"word{i} " * 20000 for i in range(6)]
    leavers = [raw_post(b, {"prompt": w, "max_tokens": 2}) for w in words]
    for s in leavers:
        s.close()
    with ThreadPoolExecutor(6) as pool:
        texts = list(pool.map(lambda w: b.text(prompt=w, tokens=3), words))
    assert all(w.startswith(t) for w, t in zip(words, texts))
    wait_for(lambda: b.c.metric("msgl_router_streams") == 0, 10)
