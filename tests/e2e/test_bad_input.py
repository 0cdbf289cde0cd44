"""Bad input gets a clear error and loses nothing: after every case the cluster still answers."""
import json
import os
import socket
import time

import pytest
import requests
from conftest import NAME, wait_for

pytestmark = pytest.mark.sanitize
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HELLO = [{"role": "user", "content": "hi"}]


@pytest.fixture(autouse=True)
def still_answers(shared):
    yield
    assert shared.complete("still there?", 1)["usage"]["completion_tokens"] == 1


def error_of(reply, status):
    assert reply.status_code == status, reply.text
    body = reply.json()
    assert set(body) == {"error"} and body["error"]["message"] and body["error"]["type"]
    return body["error"]


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe{}", b"{" * 5000, b'{"model": "x", "model": "y"}',
    b'{"a":' * 3000 + b"1" + b"}" * 3000, b'{"messages": [{"role": "user", "content": "\xed\xa0\x80"}]}',
])
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_broken_json(shared, path, body):
    error_of(shared.post(path, body), 400)


@pytest.mark.parametrize("fields,param", [
    ({"messages": "hi"}, "messages"), ({"messages": []}, "messages"), ({"messages": None}, "messages"),
    ({"messages": [1]}, "messages"), ({"messages": [{"content": "x"}]}, "role"),
    ({"messages": [{"role": "alien", "content": "x"}]}, "role"),
    ({"messages": [{"role": "user", "content": 5}]}, "content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "image_url"),
    ({"messages": HELLO + [{"role": "assistant", "content": "x", "function_call": {"name": "f", "arguments": "{}"}}]}, "tool_calls"),
    ({"verbosity": "low"}, "verbosity"), ({"temperature": -1}, "temperature"), ({"temperature": "hot"}, "temperature"), ({"temperature": 1e9}, "temperature"),
    ({"top_p": 0}, "top_p"), ({"top_p": 1.5}, "top_p"), ({"top_k": -7}, "top_k"), ({"min_p": 2}, "min_p"),
    ({"max_tokens": 0}, "max_tokens"), ({"max_tokens": -5}, "max_tokens"), ({"max_tokens": 2.5}, "max_tokens"),
    ({"max_tokens": 10 ** 30}, "max_tokens"), ({"stop": 5}, "stop"), ({"stop": ["a"] * 17}, "stop"), ({"stop": [""]}, "stop"),
    ({"seed": "x"}, "seed"), ({"stream": "yes"}, "stream"), ({"n": 0}, "n"), ({"model": 5}, "model"),
    ({"logit_bias": {"x": 5}}, "logit_bias"), ({"logprobs": 5}, "logprobs"), ({"top_logprobs": 2}, "top_logprobs"),
    ({"presence_penalty": 3}, "presence_penalty"), ({"store": True}, "store"),
    ({"guided_choice": []}, "guided_choice"), ({"guided_regex": "\\p{L}"}, "\\\\p"),
    ({"response_format": {"type": "xml"}}, "response_format"), ({"tool_choice": 5}, "tool_choice"),
])
def test_bad_parameters_are_named(shared, fields, param):
    body = {"model": NAME, "messages": HELLO, "max_tokens": 1, **fields}
    assert param in json.dumps(error_of(shared.post(CHAT, body), 400))


def test_nulls_mean_absent(shared):
    body = {"model": NAME, "messages": HELLO, "max_tokens": 1, "temperature": None, "stop": None, "seed": None,
            "logprobs": None, "logit_bias": None, "n": None, "top_p": None, "stream": None, "user": None, "verbosity": None}
    assert shared.post(CHAT, body).status_code == 200
    body["messages"] = HELLO + [{"role": "assistant", "content": "x", "function_call": None, "tool_calls": None}] + HELLO
    body["verbosity"] = "medium"  # OpenAI's default
    assert shared.post(CHAT, body).status_code == 200


def test_prompt_too_long_names_both_lengths(shared):
    message = error_of(shared.post(COMPLETIONS, {"model": NAME, "prompt": "word " * 20000}), 400)["message"]
    numbers = [int(w.strip(".,()")) for w in message.split() if w.strip(".,()").isdigit()]
    assert len(numbers) >= 2 and max(numbers) >= 20000, message


def test_ids_out_of_range(shared):
    error_of(shared.post(COMPLETIONS, {"model": NAME, "prompt": [1, 10 ** 7]}), 400)
    error_of(shared.post(COMPLETIONS, {"model": NAME, "prompt": [-1]}), 400)
    error_of(shared.post(COMPLETIONS, {"model": NAME, "prompt": []}), 400)


def test_empty_prompt_is_an_error_or_an_answer(shared):
    assert shared.post(COMPLETIONS, {"model": NAME, "prompt": "", "max_tokens": 1}).status_code in (200, 400)


def test_unknown_model(shared):
    for path in (CHAT, COMPLETIONS):
        error = error_of(shared.post(path, {"model": "gpt-17", "messages": HELLO, "prompt": "x"}), 404)
        assert "gpt-17" in error["message"] and error["code"] == "model_not_found"
    assert requests.get(shared.url() + "/v1/models/none").status_code == 404


def test_unknown_path_and_method(shared):
    error_of(requests.get(shared.url() + "/v1/nothing"), 404)
    error_of(requests.get(shared.url() + CHAT), 405)
    error_of(requests.delete(shared.url() + "/v1/models"), 405)


def test_body_too_large(shared):
    big = json.dumps({"model": NAME, "prompt": "x" * (40 << 20)})
    try:
        error_of(shared.post(COMPLETIONS, big), 413)
    except requests.ConnectionError:  # the server may close before all is sent: then ask with the header alone
        with socket.create_connection(("127.0.0.1", shared.ports[0][0])) as s:
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 41943040\r\n\r\n")
            assert b" 413 " in s.recv(4096)


def test_invalid_utf8_and_odd_text(shared):
    error_of(shared.post(COMPLETIONS, b'{"model": "' + NAME.encode() + b'", "prompt": "\xff\xfe"}'), 400)
    for text in ("\x00", "\u202e", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "a" * 5000, "\ud83d".encode("utf-16", "surrogatepass").decode("utf-16", "replace")):
        assert shared.complete(text, 1)["usage"]["completion_tokens"] == 1


def raw(shared):
    return socket.create_connection(("127.0.0.1", shared.ports[0][0]), timeout=20)


def test_header_flood(shared):
    with raw(shared) as s:
        try:
            s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(100000)) + b"\r\n")
            s.recv(4096)
        except OSError:
            pass


def test_garbage_instead_of_http(shared):
    for data in (os.urandom(4096), b"\x16\x03\x01\x02\x00\x01\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n" * 1000):
        with raw(shared) as s:
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                s.recv(4096)
            except OSError:
                pass


def test_slow_loris_does_not_stop_others(shared):
    idle = [raw(shared) for _ in range(100)]
    for s in idle:
        s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Le")
    assert shared.complete("others go on", 1)
    for s in idle:
        s.close()


def test_half_closed_socket(shared):
    body = json.dumps({"model": NAME, "prompt": "half", "max_tokens": 2}).encode()
    with raw(shared) as s:
        s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        s.shutdown(socket.SHUT_WR)
        s.settimeout(20)
        s.recv(4096)  # an answer or a close; either way the router lives


def test_wire_port_gets_garbage(shared):
    for data in (os.urandom(1000), b"GET / HTTP/1.1\r\n\r\n", b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f"):
        with socket.create_connection(("127.0.0.1", shared.ports[0][2])) as s:
            s.sendall(data)
            time.sleep(0.05)


def test_random_frames_on_the_wire(shared):
    """A peer that speaks ZeroMQ but sends noise, huge counts and other peers' names."""
    import random

    import zmq
    rng = random.Random(5)
    with zmq.Context() as context:
        peer = context.socket(zmq.DEALER)
        peer.linger = 0
        peer.setsockopt(zmq.ROUTING_ID, b"noise")
        peer.connect(shared.wire())
        frames = [b"", b"\x80", b"\xdd\xff\xff\xff\xff", b"\xdf\x08\x00\x00\x00", b"\xc1"]
        frames += [rng.randbytes(rng.randrange(1, 200)) for _ in range(500)]
        for frame in frames:
            peer.send(frame)
        time.sleep(0.5)
        peer.close()
    workers = [v for (n, _), v in shared.metrics().items() if n == "msgl_router_workers"]
    assert sum(workers) == 2


def send(shared, path, fields):
    """A call over a bare socket, so that the test decides when the client leaves."""
    body = json.dumps({"model": NAME, **fields}).encode()
    s = raw(shared)
    s.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(body)) + body)
    return s


def all_freed(shared):
    wait_for(lambda: shared.metric("msgl_router_streams") == 0, 30)
    wait_for(lambda: shared.metric("msgl_worker_running") == 0, 30)


def test_client_that_leaves_frees_its_req(shared):
    s = send(shared, CHAT, {"messages": HELLO, "max_tokens": 1500, "temperature": 0, "stream": True, "ignore_eos": True})
    assert b"data: " in s.recv(4096)
    wait_for(lambda: shared.metric("msgl_worker_running") == 1, 5)
    s.close()
    all_freed(shared)


def test_client_that_leaves_before_the_first_token(shared):
    s = send(shared, COMPLETIONS, {"prompt": "long " * 1500, "max_tokens": 500, "ignore_eos": True})
    time.sleep(0.2)
    s.close()
    all_freed(shared)
