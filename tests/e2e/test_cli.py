"""The front door for people: msgl serve, chat, doctor, bench, tokenize, prompt, and quickstart's ending."""
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pexpect
import psutil
import pytest
import requests
from conftest import BUILD, MODEL, NAME, ROOT, SLOW, free_port, wait_for

MSGL = os.path.join(BUILD, "msgl")


def msgl(*args, stdin=None, timeout=60):
    return subprocess.run([MSGL, *args], input=stdin, capture_output=True, text=True, timeout=timeout * SLOW)


class Serve:
    def __init__(self, tmp_path, *args, model=MODEL, program=MSGL):
        self.port = free_port()
        self.log_path = tmp_path / "serve.log"
        self.popen = subprocess.Popen([program, "serve", "--model", model, "--port", str(self.port), *args],
                                      stdout=open(self.log_path, "wb"), stderr=subprocess.STDOUT)
        self.url = f"http://127.0.0.1:{self.port}"
        wait_for(self.ready, 60)

    def ready(self):
        assert self.popen.poll() is None, self.log_path.read_text()
        try:
            return requests.get(self.url + "/ready", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def children(self):
        return [p for p in psutil.Process(self.popen.pid).children(recursive=True) if p.status() != "zombie"]

    def stop(self, sig=signal.SIGINT):
        self.popen.send_signal(sig)
        return self.popen.wait(30 * SLOW)


@pytest.fixture
def serve(tmp_path):
    made = []

    def make(*args):
        made.append(Serve(tmp_path, *args))
        return made[-1]
    yield make
    for s in made:
        if s.popen.poll() is None:
            s.stop()


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_serve_ends_with_all_its_children(serve, sig):
    s = serve("--workers", "2")
    children = s.children()
    assert len(children) == 3, children
    code = s.stop(sig)
    assert code == (-9 if sig == signal.SIGKILL else 0)
    wait_for(lambda: not any(c.is_running() and c.status() != "zombie" for c in children), 10)


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "term"])
def test_serve_stopped_at_any_moment_of_its_start(tmp_path, sig):
    """Ctrl-C reaches serve alone here, and it takes everything it has started with it."""
    for delay in (0.0, 0.01, 0.03, 0.1, 0.2, 0.3):
        with open(tmp_path / "log", "wb") as log:
            popen = subprocess.Popen([MSGL, "serve", "--model", MODEL, "--port", "0", "--kv-mib", "64", "--workers", "2"],
                                     stdout=log, stderr=log, start_new_session=True)
        time.sleep(delay)
        popen.send_signal(sig)
        assert popen.wait(30 * SLOW) in (0, -sig)
        wait_for(lambda: not [p for p in psutil.process_iter() if p.status() != "zombie" and session_of(p) == popen.pid], 10)


def session_of(process):
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None


def test_idle_processes_sleep(serve):
    """Nobody waits busily: router, worker and supervisor use next to no CPU when nothing is asked, also after work."""
    s = serve("--kv-mib", "64")
    reply = requests.post(s.url + "/v1/completions", json={"model": NAME, "prompt": "x", "max_tokens": 8})
    assert reply.status_code == 200
    time.sleep(0.5)
    processes = [psutil.Process(s.popen.pid)] + s.children()
    before, began = [sum(p.cpu_times()[:2]) for p in processes], time.monotonic()
    time.sleep(3)
    seconds = time.monotonic() - began
    shares = {p.name(): (sum(p.cpu_times()[:2]) - b) / seconds for p, b in zip(processes, before)}
    assert len(shares) == 3 and max(shares.values()) < 0.03, shares


def test_serve_on_a_port_in_use(serve):
    s = serve("--kv-mib", "16")
    done = msgl("serve", "--model", MODEL, "--port", str(s.port))
    assert done.returncode == 1 and str(s.port) in done.stderr and "--port 0" in done.stderr
    admin = re.search(r"127\.0\.0\.1:(\d+)/metrics", s.log_path.read_text()).group(1)
    done = msgl("serve", "--model", MODEL, "--port", "0", "--admin-port", admin)
    assert done.returncode == 1 and admin in done.stderr


def test_installed_programs_run(tmp_path):
    """`cmake --install` into a prefix: the programs are there and find each other."""
    subprocess.run(["cmake", "--install", BUILD, "--prefix", str(tmp_path)], check=True, capture_output=True)
    assert sorted(os.listdir(tmp_path / "bin")) == ["msgl", "msgl-router", "msgl-worker"]
    s = Serve(tmp_path, "--kv-mib", "16", program=str(tmp_path / "bin" / "msgl"))
    try:
        assert all(p.exe().startswith(str(tmp_path / "bin")) for p in s.children())
    finally:
        assert s.stop() == 0


def test_serve_restarts_a_dead_worker(serve):
    s = serve("--workers", "1")
    worker = next(c for c in s.children() if "msgl-worker" in c.name())
    worker.kill()
    wait_for(lambda: any("msgl-worker" in c.name() and c.pid != worker.pid for c in s.children()), 20)
    wait_for(s.ready, 30)
    reply = requests.post(s.url + "/v1/completions", json={"model": NAME, "prompt": "x", "max_tokens": 2})
    assert reply.status_code == 200


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_serve_ends_at_once_with_a_model_that_nobody_runs(tmp_path, quiet):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(MODEL, name), tmp_path)
    with open(os.path.join(MODEL, "config.json"), encoding="utf-8") as f:
        config = {**json.load(f), "architectures": ["NobodysForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = msgl("serve", "--model", str(tmp_path), "--port", "0", "--dummy-weights", "--workers", "3", *quiet)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("NobodysForCausalLM") == 1 and "again in" not in done.stderr, done.stderr
    assert re.search(r"worker-\d cannot start", done.stderr.splitlines()[-1]) or not quiet
    done = msgl("serve", "--model", MODEL, "--port", "0", "--dummy-weights", "--router-arg=--policy=nobodys", *quiet)
    assert done.returncode == 1 and done.stderr.count("nobodys") == 1 and "again in" not in done.stderr, done.stderr


def test_serve_without_a_model_says_so(tmp_path):
    done = msgl("serve", "--model", str(tmp_path / "none"))
    assert done.returncode != 0 and "none" in done.stderr


def test_chat_keeps_history_and_resets(serve):
    s = serve()
    child = pexpect.spawn(MSGL, ["chat", "--url", s.url, "--temperature", "0"], encoding="utf-8", timeout=60 * SLOW,
                          env={**os.environ, "TERM": "dumb", "HOME": str(s.log_path.parent)})
    child.expect("> ")
    child.sendline("What is the capital of France?")
    child.expect("Paris")
    child.expect("\n.*> ")
    child.sendline("/reset")
    child.expect("> ")
    child.sendline("/exit")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_chat_without_a_server_says_so():
    done = msgl("chat", "--url", f"http://127.0.0.1:{free_port()}", stdin="hello\n")
    assert done.returncode != 0 and "127.0.0.1" in done.stderr + done.stdout


def test_doctor():
    done = msgl("doctor", "--model", MODEL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"GPU|driver", done.stdout) and NAME in done.stdout
    assert msgl("doctor", "--model", "/nowhere/at/all").returncode != 0


def test_bench(serve):
    s = serve()
    done = msgl("bench", "--url", s.url, "--streams", "2", "--requests", "4", "--tokens", "8")
    assert done.returncode == 0, done.stderr
    assert "tokens/s" in done.stdout


def test_tokenize_and_back():
    lines = ["Hello, world!", "", "  two  spaces 123", "naïve café 日本語 👩‍👩‍👧", "<|im_start|>user"]
    ids = msgl("tokenize", "--model", MODEL, stdin="\n".join(lines) + "\n")
    assert ids.returncode == 0, ids.stderr
    rows = ids.stdout.split("\n")[:-1]
    assert len(rows) == len(lines) and rows[1] == ""
    assert all(re.fullmatch(r"\d+( \d+)*", r) for r in rows if r)
    back = msgl("tokenize", "--model", MODEL, "--decode", stdin=ids.stdout)
    assert back.stdout.split("\n")[:-1] == lines


def test_prompt():
    request = {"messages": [{"role": "user", "content": "Hi"}]}
    done = msgl("prompt", "--model", MODEL, stdin=json.dumps(request))
    assert done.returncode == 0, done.stderr
    assert "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n" in done.stdout
    bad = msgl("prompt", "--model", MODEL, stdin="{")
    assert bad.returncode != 0 and bad.stderr


@pytest.mark.parametrize("program", ["msgl", "msgl-router", "msgl-worker"])
def test_help_version_and_unknown_options(program):
    path = os.path.join(BUILD, program)
    for flag in ("--help", "--version"):
        done = subprocess.run([path, flag], capture_output=True, text=True, timeout=20 * SLOW)
        assert done.returncode == 0 and "msgl" in done.stdout
    done = subprocess.run([path, "--no-such-option", "1"], capture_output=True, text=True, timeout=20 * SLOW)
    assert done.returncode != 0 and "no-such-option" in done.stderr


def test_config_document_is_fresh():
    made = subprocess.run([os.path.join(ROOT, "docs", "make_config"), BUILD], capture_output=True, text=True, check=True)
    with open(os.path.join(ROOT, "docs", "CONFIG.md"), encoding="utf-8") as f:
        assert made.stdout == f.read(), "run docs/make_config build > docs/CONFIG.md"


def test_api_document_is_fresh():
    made = subprocess.run([os.path.join(ROOT, "docs", "make_api"), BUILD], capture_output=True, text=True, check=True)
    with open(os.path.join(ROOT, "docs", "API.md"), encoding="utf-8") as f:
        assert made.stdout == f.read(), "run docs/make_api build"


def test_dummy_weights_serve(tmp_path):
    """--dummy-weights needs only config.json beside the tokenizer files."""
    from conftest import Cluster
    folder = tmp_path / NAME
    folder.mkdir()
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        os.symlink(os.path.join(MODEL, name), folder / name)
    c = Cluster(tmp_path, workers=1, model=str(folder), worker_args=["--dummy-weights"])
    try:
        assert c.complete("anything", 4)["usage"]["completion_tokens"] >= 1
    finally:
        assert not c.close()


def test_quickstart_second_run_is_quick():
    started = time.monotonic()
    done = subprocess.run([os.path.join(ROOT, "deploy/local/quickstart")], capture_output=True, text=True, timeout=300)
    took = time.monotonic() - started
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Paris" in done.stdout and "tokens/s" in done.stdout and "first token" in done.stdout
    assert took < 15, f"{took:.1f} s"
    left = [p for p in psutil.process_iter(["name", "cmdline"]) if "quickstart" in " ".join(p.info["cmdline"] or [])]
    assert not left
