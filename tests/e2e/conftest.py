"""A real cluster on loopback: one or more msgl-router and msgl-worker processes, a real model.

MSGL_BUILD names the build folder (default: build/); MSGL_MODEL the model folder (default: the
converted SmolLM2 under MSGL_HOME). A sanitizer's report in any log fails the test that caused it."""
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest
import requests

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.path.join(ROOT, os.environ.get("MSGL_BUILD", "build"))
HOME = os.environ.get("MSGL_HOME", os.path.expanduser("~/.cache/msgl"))
REAL = os.environ.get("MSGL_MODEL", os.path.join(HOME, "models", "SmolLM2-135M-Instruct"))


def tiny_model(folder):
    """SmolLM2's tokenizer with two narrow layers; served with --dummy-weights."""
    path = os.path.join(str(folder), os.path.basename(REAL))
    os.makedirs(path)
    for name in ("generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(REAL, name), path)
    with open(os.path.join(REAL, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    config.update(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
                  num_key_value_heads=1, head_dim=64)
    with open(os.path.join(path, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)
    return path


# The sanitizer builds compute too slowly for a real model.
TINY = os.environ.get("MSGL_TINY") == "1"
MODEL = tiny_model(tempfile.mkdtemp(prefix="msgl-tiny-")) if TINY else REAL
NAME = os.path.basename(MODEL)
SLOW = float(os.environ.get("MSGL_SLOW", "1"))  # sanitizer builds: longer waits
REPORT = re.compile(r"(ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|CHECK failed).*")


# Below those that the kernel gives to clients' ends: what is restarted on one finds it free again.
PORTS = itertools.cycle(random.SystemRandom().sample(range(10000, 32000), 22000))


def free_port():
    """A port that nobody has and that this run has not given before: two of one cluster must not be the same."""
    while True:
        port = next(PORTS)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def wait_for(what, seconds, every=0.05):
    """Calls what() until it is true; returns its value, or fails."""
    end = time.monotonic() + seconds * SLOW
    while time.monotonic() < end:
        value = what()
        if value:
            return value
        time.sleep(every)
    raise AssertionError(f"not within {seconds * SLOW:.0f} s: {what}")


def parse_metrics(text):
    """{(name, labels): value} of an exposition."""
    found = {}
    for line in text.split("\n"):
        match = re.match(r"([\w:]+)(?:\{(.*)\})? ([^ ]+)$", line)
        if match:
            found[(match.group(1), match.group(2) or "")] = float(match.group(3))
    return found


def task_state(path):
    """The letter behind the name in parentheses; X when the thread is gone."""
    try:
        with open(path) as f:
            return f.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


class Process:
    def __init__(self, argv, log_path, env=None):
        self.argv, self.log_path = argv, log_path
        self.log = open(log_path, "ab")
        self.log_start = os.path.getsize(log_path)
        self.popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.log,
                                      stderr=self.log, env={**os.environ, **(env or {})})

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def kill(self, sig=signal.SIGKILL):
        if self.alive():
            self.popen.send_signal(sig)
        if sig in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            return self.popen.wait(timeout=30 * SLOW)
        return None

    def halt(self):
        """SIGSTOP, and until every thread stands: a busy machine takes a while to hand the signal round."""
        self.popen.send_signal(signal.SIGSTOP)
        tasks = f"/proc/{self.pid}/task"
        wait_for(lambda: all(task_state(f"{tasks}/{t}/stat") in "TtZX" for t in os.listdir(tasks)), 10)

    def stop(self):
        """SIGTERM, then SIGKILL when it does not listen; returns the exit status."""
        if self.alive():
            self.popen.send_signal(signal.SIGCONT)
            self.popen.terminate()
            try:
                self.popen.wait(timeout=20 * SLOW)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        self.log.close()
        return self.popen.returncode

    def text(self):
        with open(self.log_path, "rb") as f:
            return f.read().decode("utf-8", "replace")

    def said(self, word=""):
        """How often this process (not an earlier one of the same name) has logged the word."""
        with open(self.log_path, "rb") as f:
            f.seek(self.log_start)
            return f.read().decode("utf-8", "replace").count(word or "\n")

    def rss_mib(self):
        with open(f"/proc/{self.pid}/status") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) / 1024


class Cluster:
    """Routers and workers; every worker connects to every router."""

    def __init__(self, folder, workers=1, routers=1, model=MODEL, router_args=(), worker_args=(),
                 start=True, wrap=()):
        """`wrap`: a command to run each process under (valgrind)."""
        self.folder, self.model, self.name = str(folder), model, os.path.basename(model)
        self.wrap = list(wrap)
        self.router_args, self.worker_args = list(router_args), list(worker_args)
        self.routers, self.workers, self.ended = [], [], []
        self.ports = [(free_port(), free_port(), free_port()) for _ in range(routers)]
        for i in range(routers):
            self.start_router(i)
        for i in range(workers):
            self.start_worker(i)
        if start:
            self.wait_ready(workers)

    def host(self, what, i):
        """The address that "router" or "worker" i listens on."""
        return "127.0.0.1"

    def place(self, what, i):
        """The command to run it under."""
        return self.wrap

    def _log(self, name):
        return os.path.join(self.folder, name + ".log")

    def start_router(self, i=0):
        http, admin, wire = self.ports[i]
        host = self.host("router", i)
        process = Process(self.place("router", i) + [os.path.join(BUILD, "msgl-router"), "--model", self.model,
                           "--host", host, "--port", str(http), "--admin-host", host, "--admin-port", str(admin),
                           "--worker-endpoint", f"tcp://{host}:{wire}", "--worker-dead-ms",
                           str(int(2000 * SLOW)), *self.router_args],
                          self._log(f"router-{i}"))
        if i < len(self.routers):
            self.ended.append(self.routers[i])
            self.routers[i] = process
        else:
            self.routers.append(process)
        wait_for(lambda: self._get(i, "/health", admin=True) == 200 or not process.alive(), 20)
        assert process.alive(), process.text()
        return process

    def start_worker(self, i, args=()):
        argv = self.wrap + [os.path.join(BUILD, "msgl-worker"), "--model", self.model, "--id", f"worker-{i}",
                "--threads", "1", "--kv-mib", "256", "--router-dead-ms", str(int(3000 * SLOW))]
        if TINY:
            argv.append("--dummy-weights")
        for r in range(len(self.ports)):
            argv += ["--router", self.wire(r)]
        return self.keep_worker(i, Process(argv + self.worker_args + list(args), self._log(f"worker-{i}")))

    def keep_worker(self, i, process):
        """It is worker i from now on; the one before it is still ended with the cluster."""
        while len(self.workers) <= i:
            self.workers.append(None)
        if self.workers[i]:
            self.ended.append(self.workers[i])
        self.workers[i] = process
        return process

    def _get(self, i, path, admin=False):
        try:
            return requests.get((self.admin(i) if admin else self.url(i)) + path, timeout=5 * SLOW).status_code
        except requests.RequestException:
            return 0

    def url(self, i=0):
        return f"http://{self.host('router', i)}:{self.ports[i][0]}"

    def admin(self, i=0):
        return f"http://{self.host('router', i)}:{self.ports[i][1]}"

    def wire(self, i=0):
        return f"tcp://{self.host('router', i)}:{self.ports[i][2]}"

    def metrics(self, i=0):
        """The router's."""
        return parse_metrics(requests.get(self.admin(i) + "/metrics", timeout=5 * SLOW).text)

    def metric(self, name, i=0):
        return sum(v for (n, _), v in self.metrics(i).items() if n == name)

    def wait_ready(self, workers):
        def ready():
            for w in self.workers:
                assert w is None or w.alive(), w.text()
            return all(self._get(i, "/ready") == 200 and
                       self.metric("msgl_router_workers", i) >= workers
                       for i in range(len(self.routers)))
        wait_for(ready, 60)

    def client(self, i=0, **kwargs):
        import openai
        kwargs.setdefault("max_retries", 0)
        return openai.OpenAI(base_url=self.url(i) + "/v1", api_key="none", timeout=120 * SLOW, **kwargs)

    def post(self, path, body, i=0, **kwargs):
        data = body if isinstance(body, (bytes, str)) else json.dumps(body)
        return requests.post(self.url(i) + path, data=data, timeout=120 * SLOW,
                             headers={"Content-Type": "application/json"}, **kwargs)

    def complete(self, prompt, tokens=16, i=0, **fields):
        reply = self.post("/v1/completions", {"model": self.name, "prompt": prompt,
                                              "max_tokens": tokens, "temperature": 0, **fields}, i)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def close(self):
        problems = []
        for process in self.workers + self.routers:
            if process is not None:
                was_alive = process.alive()
                code = process.stop()
                if code == -signal.SIGTERM and not process.said():
                    continue  # it had not even got to blocking signals
                if was_alive and code != 0:
                    problems.append(f"{process.argv[0]} ended with {code}:\n{process.text()[-3000:]}")
        for process in self.workers + self.routers + self.ended:
            if process is not None:
                match = REPORT.search(process.text())
                if match:
                    at = match.start()
                    problems.append(process.text()[at:at + 4000])
        return problems


@pytest.fixture
def cluster(tmp_path):
    """make(workers=…, …) starts one; all are stopped, and their exit and logs checked, at the end."""
    made = []

    def make(**kwargs):
        made.append(Cluster(tmp_path, **kwargs))
        return made[-1]
    yield make
    problems = [p for c in made for p in c.close()]
    assert not problems, "\n".join(problems)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One router and two workers for all tests of a module that break nothing."""
    c = Cluster(tmp_path_factory.mktemp("cluster"), workers=2)
    yield c
    problems = c.close()
    assert not problems, "\n".join(problems)
