"""Keys on the wire, keys for the API, limits, spaces of cached prefixes, TLS: with real processes."""
import os
import shutil
import socket
import ssl
import struct
import subprocess
import time

import pytest
import requests

from conftest import BUILD, MODEL, SLOW, Process, free_port, wait_for

SIM = ["--engine", "sim"]
PROMPT = list(range(1000, 1100))


def keys(folder):
    subprocess.run([os.path.join(BUILD, "msgl"), "keys", "--dir", str(folder)], check=True, capture_output=True)
    return str(folder)


def router_keys(folder):
    return ["--wire-key-file", f"{folder}/router.key", "--wire-allow-file", f"{folder}/workers.allow"]


def worker_keys(folder):
    return ["--wire-key-file", f"{folder}/worker.key", "--wire-router-key-file", f"{folder}/router.pub"]


def ask(c, key=None, prompt=PROMPT, tokens=4, **fields):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return requests.post(c.url() + "/v1/completions", timeout=60 * SLOW, headers=headers, json={
        "model": c.name, "prompt": prompt, "max_tokens": tokens, "ignore_eos": True, **fields})


def cached(reply):
    assert reply.status_code == 200, reply.text
    return reply.json()["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_only_workers_on_the_list_join(cluster, tmp_path):
    ours, theirs = keys(tmp_path / "ours"), keys(tmp_path / "theirs")
    c = cluster(workers=1, router_args=router_keys(ours), worker_args=SIM + worker_keys(ours))
    assert ask(c).status_code == 200
    mixed = tmp_path / "mixed"  # knows the router's key, which is no secret, but is not on its list
    mixed.mkdir()
    shutil.copy(f"{theirs}/worker.key", mixed)
    shutil.copy(f"{ours}/router.pub", mixed)
    for i, args in enumerate([worker_keys(theirs), worker_keys(mixed), []], 1):
        c.worker_args = SIM + args
        c.start_worker(i)
    wait_for(lambda: "key_refused" in c.routers[0].text(), 20)
    time.sleep(1)
    assert c.metric("msgl_router_workers") == 1
    assert all(c.workers[i].said("welcomed") == 0 for i in (1, 2, 3))
    # A key that is added lets its worker in without a restart of the router.
    with open(f"{ours}/workers.allow", "a") as allow, open(f"{theirs}/worker.key") as key:
        allow.write(key.read().split("\n")[1] + "\n")
    wait_for(lambda: c.metric("msgl_router_workers") == 2, 20)
    assert c.workers[2].said("welcomed")


def test_ranks_use_the_workers_keys(cluster, tmp_path):
    ours, theirs = keys(tmp_path / "ours"), keys(tmp_path / "theirs")
    master = f"127.0.0.1:{free_port()}"
    nodes = ["--tp", "2", "--nnodes", "2", "--master", master]
    c = cluster(workers=0, start=False, router_args=router_keys(ours))
    c.worker_args = SIM + nodes + worker_keys(ours)
    c.start_worker(0, ["--node-rank", "0"])
    base = [os.path.join(BUILD, "msgl-worker"), "--model", MODEL, "--id", "worker-0", *SIM, *nodes, "--node-rank", "1"]
    stranger = Process(base + worker_keys(theirs), str(tmp_path / "stranger.log"))
    time.sleep(1.5)
    assert c.workers[0].said("ranks.joined") == 0
    stranger.kill()
    second = Process(base + worker_keys(ours), str(tmp_path / "second.log"))
    c.wait_ready(1)
    assert ask(c).status_code == 200
    assert c.workers[0].stop() == 0 and second.popen.wait(20 * SLOW) == 0


@pytest.mark.parametrize("program,args,says", [
    ("msgl-router", ["--worker-endpoint", "tcp://0.0.0.0:*"], "--wire-key-file"),
    ("msgl-router", ["--worker-endpoint", "tcp://*:*"], "--wire-key-file"),
    ("msgl-router", ["--wire-key-file", "/nonexistent"], "go together"),
    ("msgl-router", ["--tls-cert-file", "/nonexistent"], "go together"),
    ("msgl-router", ["--api-key-file", "/nonexistent"], "/nonexistent"),
    ("msgl-worker", ["--router", "tcp://127.0.0.1:9", "--wire-key-file", "x"], "go together"),
    ("msgl-worker", ["--router", "tcp://127.0.0.1:9", "--tp", "2", "--nnodes", "2", "--master", "10.0.0.1:9"],
     "--wire-key-file"),
])
def test_unsafe_options_are_refused(program, args, says):
    extra = SIM if program == "msgl-worker" else ["--port", "0", "--admin-port", "0"]
    if "--worker-endpoint" not in args and program == "msgl-router":
        extra += ["--worker-endpoint", "tcp://127.0.0.1:*"]
    done = subprocess.run([os.path.join(BUILD, program), "--model", MODEL, *extra, *args], capture_output=True, text=True,
                          timeout=30 * SLOW)
    assert done.returncode == 2 and says in done.stderr, done.stderr


def test_everything_binds_to_loopback_by_default():
    for program, names in (("msgl-router", ("host", "admin-host", "worker-endpoint")), ("msgl", ())):
        text = subprocess.run([os.path.join(BUILD, program), "--print-config"], capture_output=True, text=True).stdout
        for name in names:
            line = next(line for line in text.split("\n") if line.startswith(name + " "))
            assert "127.0.0.1" in line, line


@pytest.mark.sanitize
def test_api_keys_limits_and_spaces(cluster, tmp_path):
    path = tmp_path / "keys"
    path.write_text("alice secret-alice streams=2\nbob secret-bob space=team calls-per-minute=5\n"
                    "carol secret-carol space=team\ndave secret-dave tokens-per-minute=150\n")
    c = cluster(workers=1, worker_args=SIM, router_args=["--api-key-file", str(path)])
    for key in (None, "secret-alic", "secret-alice ", "SECRET-ALICE", "sha256:00"):
        reply = ask(c, key)
        assert reply.status_code == 401 and reply.json()["error"]["code"] == "invalid_api_key", (key, reply.text)
    assert requests.get(c.url() + "/v1/models").status_code == 401
    assert requests.get(c.url() + "/health").status_code == 200
    # Spaces: what alice asked is not in bob's cache; bob and carol share one; a salt divides it.
    assert cached(ask(c, "secret-alice")) == 0
    assert cached(ask(c, "secret-alice")) == 96
    assert cached(ask(c, "secret-bob")) == 0
    assert cached(ask(c, "secret-carol")) == 96
    assert cached(ask(c, "secret-carol", cache_salt="x")) == 0
    assert cached(ask(c, "secret-alice", cache_salt="x")) == 0
    # Limits, each with a time to come again.
    reply = ask(c, "secret-alice", n=3, temperature=1)
    assert reply.status_code == 429 and "streams" in reply.json()["error"]["message"]
    assert [ask(c, "secret-bob").status_code for _ in range(5)] == [200] * 4 + [429]
    assert ask(c, "secret-dave").status_code == 200
    reply = ask(c, "secret-dave")
    assert reply.status_code == 429 and 15 <= int(reply.headers["Retry-After"]) <= 30, reply.headers
    # A changed file counts within two seconds, also for calls over an open connection.
    path.write_text("alice secret-new\n")
    wait_for(lambda: ask(c, "secret-alice").status_code == 401, 5)
    assert ask(c, "secret-new").status_code == 200
    assert "secret" not in c.routers[0].text()


@pytest.mark.sanitize
def test_keys_and_limits_on_the_admin_ports_chat(cluster, tmp_path):
    """The page's chat calls the admin port: the same keys, limits and spaces, counted together with those of the API port."""
    path = tmp_path / "keys"
    path.write_text("alice secret-alice streams=2\nbob secret-bob space=team calls-per-minute=5\n"
                    "carol secret-carol space=team\ndave secret-dave tokens-per-minute=200\n")
    c = cluster(workers=1, worker_args=SIM, router_args=["--api-key-file", str(path), "--admin-key", "secret-admin"])

    def chat(url, key, **fields):
        body = {"model": c.name, "messages": [{"role": "user", "content": "word " * 120}], "max_tokens": 4, "ignore_eos": True, **fields}
        return requests.post(url + "/v1/chat/completions", json=body, timeout=60 * SLOW, stream=fields.get("stream", False),
                             headers={"Authorization": "Bearer " + key} if key else {})
    admin, api = c.admin(), c.url()
    # The admin key opens the cluster's view, which API keys then do not, and no calls.
    for key in (None, "secret-alic", "secret-admin"):
        reply = chat(admin, key)
        assert reply.status_code == 401 and reply.json()["error"]["code"] == "invalid_api_key", (key, reply.text)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        assert requests.get(admin + "/v1/models", timeout=5, headers=headers).status_code == 401
    # Spaces: what was asked at one port is in the cache for the other, for those who share it.
    assert cached(chat(api, "secret-alice")) == 0 and cached(chat(admin, "secret-alice")) > 90
    assert cached(chat(admin, "secret-bob")) == 0 and cached(chat(api, "secret-carol")) > 90 and cached(chat(admin, "secret-carol")) > 90
    # Limits: bob has four calls left at either port, alice two streams at both, dave his tokens.
    replies = [chat(url, "secret-bob") for url in (admin, api, admin, api, admin, api)]
    assert [reply.status_code for reply in replies] == [200] * 4 + [429] * 2
    assert all(int(reply.headers["Retry-After"]) >= 1 for reply in replies[4:])
    with chat(admin, "secret-alice", n=2, temperature=1, stream=True, max_tokens=1200) as running:
        assert running.status_code == 200, running.text
        assert next(running.iter_lines())
        for url in (api, admin):
            reply = chat(url, "secret-alice")
            assert reply.status_code == 429 and "streams" in reply.json()["error"]["message"]
    wait_for(lambda: chat(admin, "secret-alice").status_code == 200, 10)  # the page's tab was closed
    assert [chat(url, "secret-dave").status_code for url in (admin, api)] == [200, 429]
    # A changed file counts here, too.
    path.write_text("alice secret-new\n")
    wait_for(lambda: chat(admin, "secret-alice").status_code == 401, 5)
    assert chat(admin, "secret-new").status_code == 200
    assert "secret" not in c.routers[0].text()


def certificate(folder, name):
    cert, key = str(folder / "tls.crt"), str(folder / "tls.key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                    "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key + ".new", "-out",
                    cert + ".new"], check=True, capture_output=True)
    os.replace(key + ".new", key)
    os.replace(cert + ".new", cert)
    return cert, key


@pytest.mark.sanitize
def test_tls(cluster, tmp_path):
    cert, key = certificate(tmp_path, "first")
    c = cluster(workers=1, worker_args=SIM, router_args=["--tls-cert-file", cert, "--tls-key-file", key], start=False)
    url = c.url().replace("http:", "https:")
    port = int(url.rsplit(":", 1)[1])

    def ready():
        try:
            return requests.get(url + "/ready", timeout=5, verify=cert).status_code == 200
        except requests.RequestException:
            return False
    wait_for(ready, 30)
    body = {"model": c.name, "prompt": PROMPT, "max_tokens": 50, "ignore_eos": True, "stream": True}
    with requests.post(url + "/v1/completions", json=body, stream=True, timeout=60 * SLOW, verify=cert) as reply:
        lines = [line for line in reply.iter_lines() if line]
    assert reply.status_code == 200 and lines[-1] == b"data: [DONE]" and len(lines) > 10
    context = ssl.create_default_context(cafile=cert)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", port)) as s, context.wrap_socket(s, server_hostname="127.0.0.1") as t:
        assert t.selected_alpn_protocol() != "h2" and t.version() in ("TLSv1.2", "TLSv1.3")
    assert requests.get(c.admin() + "/ready").status_code == 200  # another port, another network
    with pytest.raises(requests.RequestException):
        requests.get(c.url() + "/ready", timeout=5)
    old = ssl.get_server_certificate(("127.0.0.1", port))
    certificate(tmp_path, "second")
    wait_for(lambda: ssl.get_server_certificate(("127.0.0.1", port)) != old, 10)
    assert ready()


@pytest.mark.sanitize
def test_tls_clients_that_reset_leave_nothing(cluster, tmp_path):
    """h2o 2.2.5 over libuv 1.44 kept such connections for ever."""
    cert, key = certificate(tmp_path, "first")
    c = cluster(workers=0, start=False, router_args=["--tls-cert-file", cert, "--tls-key-file", key])
    context = ssl.create_default_context(cafile=cert)

    def files():
        return len(os.listdir(f"/proc/{c.routers[0].pid}/fd"))

    def visit(send):
        with socket.create_connection(("127.0.0.1", c.ports[0][0])) as s:
            with context.wrap_socket(s, server_hostname="127.0.0.1") as t:
                t.sendall(send)
                t.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST
    before = files()
    for _ in range(20):
        visit(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        visit(b"GET /hea")
    wait_for(lambda: files() <= before, 5)


def test_msgl_keys_makes_a_secret_and_files(tmp_path):
    import base64
    import stat
    import yaml
    run = [os.path.join(BUILD, "msgl"), "keys", "--dir", str(tmp_path / "k"), "--kubernetes", "--namespace", "llm"]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    secret = yaml.safe_load(done.stdout[done.stdout.index("apiVersion"):])
    assert secret["kind"] == "Secret" and secret["metadata"] == {"name": "msgl-wire-keys", "namespace": "llm"}
    for name, text in secret["data"].items():
        assert base64.b64decode(text, validate=True).decode() == (tmp_path / "k" / name).read_text()
    assert sorted(secret["data"]) == ["router.key", "router.pub", "worker.key", "workers.allow"]
    modes = {n: stat.S_IMODE(os.stat(tmp_path / "k" / n).st_mode) for n in secret["data"]}
    assert modes["router.key"] == modes["worker.key"] == 0o600
    again = subprocess.run(run, capture_output=True, text=True)
    assert again.returncode == 1 and "--force" in again.stderr
