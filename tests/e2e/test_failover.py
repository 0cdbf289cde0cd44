"""Real processes die; no token is lost, doubled or changed."""
import json
import signal
import threading
import time

import pytest
import requests
from conftest import NAME, Cluster, wait_for

PROMPT = "Write a long story about a lighthouse keeper and the sea."


class Stream(threading.Thread):
    """Reads one streamed completion; keeps its text, finish and any error."""

    def __init__(self, cluster, tokens, i=0, **fields):
        super().__init__(daemon=True)
        self.cluster, self.i = cluster, i
        self.body = {"model": NAME, "prompt": PROMPT, "max_tokens": tokens, "stream": True, "ignore_eos": True,
                     "temperature": 0, **fields}
        self.text, self.finish, self.error, self.chunks, self.done = "", None, None, 0, False
        self.start()

    def run(self):
        try:
            reply = self.cluster.post("/v1/completions", self.body, i=self.i, stream=True)
            if reply.status_code != 200:
                self.error = reply.json()["error"]
                return
            for line in reply.iter_lines():
                if line == b"data: [DONE]":
                    self.done = True
                elif line.startswith(b"data: "):
                    event = json.loads(line[6:])
                    if "error" in event:
                        self.error = event["error"]
                    elif event["choices"]:
                        self.chunks += 1
                        self.text += event["choices"][0]["text"]
                        self.finish = event["choices"][0]["finish_reason"] or self.finish
        except requests.RequestException as e:
            self.error = {"message": str(e)}

    def result(self):
        self.join(180)
        return self.text, self.finish, self.error


def serving(cluster):
    """Index of the worker that runs something."""
    for (name, labels), value in cluster.metrics().items():
        if name == "msgl_worker_running" and value > 0:
            return int(labels.split("worker-")[1].split('"')[0])
    return None


@pytest.mark.sanitize
@pytest.mark.parametrize("fields", [{}, {"temperature": 0.9, "seed": 11}], ids=["greedy", "seeded"])
def test_worker_killed_in_the_middle(cluster, fields):
    c = cluster(workers=2)
    whole = Stream(c, 120, **fields).result()
    assert whole[1:] == ("length", None)
    stream = Stream(c, 120, **fields)
    wait_for(lambda: stream.chunks >= 10, 60)
    victim = serving(c)
    c.workers[victim].kill()
    assert stream.result() == whole
    assert stream.done


def test_streams_move_when_the_device_fails(cluster):
    """A device error in a step: the worker says so and exits; what it ran goes on elsewhere."""
    c = cluster(workers=1, worker_args=["--fail-step", "150"])
    prompt = PROMPT * 8  # of several pages: the worker that has them cached gets it again
    whole = Stream(c, 120, prompt=prompt).result()
    assert whole[1:] == ("length", None)
    c.worker_args = []
    c.start_worker(1)
    c.wait_ready(2)
    assert Stream(c, 120, prompt=prompt).result() == whole
    assert c.workers[0].popen.wait(10) == 1
    assert "step 150 fails" in c.workers[0].text()


def test_many_streams_survive_a_kill(cluster):
    c = cluster(workers=2)
    whole = Stream(c, 60).result()
    streams = [Stream(c, 60) for _ in range(8)]
    wait_for(lambda: sum(s.chunks > 3 for s in streams) >= 4, 60)
    c.workers[0].kill()
    assert [s.result() for s in streams] == [whole] * 8


def test_stopped_worker_counts_as_dead(cluster):
    c = cluster(workers=2)
    whole = Stream(c, 80).result()
    stream = Stream(c, 80)
    wait_for(lambda: stream.chunks >= 5, 60)
    victim = serving(c)
    c.workers[victim].popen.send_signal(signal.SIGSTOP)
    assert stream.result() == whole
    c.workers[victim].popen.send_signal(signal.SIGCONT)
    wait_for(lambda: c.metric("msgl_router_workers") == 2, 20)


def test_killed_before_the_first_token(cluster):
    c = cluster(workers=2)
    body = {"model": NAME, "prompt": "word " * 700, "max_tokens": 4, "temperature": 0}
    expected = c.post("/v1/completions", {**body, "prompt": "other " + body["prompt"]}).status_code
    assert expected == 200
    wait_for(lambda: serving(c) is None, 20, every=0.01)  # the router hears of it with the worker's next LOAD
    replies = []
    thread = threading.Thread(target=lambda: replies.append(c.post("/v1/completions", body)))
    thread.start()
    victim = wait_for(lambda: [w for w in [serving(c)] if w is not None], 20, every=0.01)
    c.workers[victim[0]].kill()
    thread.join(120)
    assert replies[0].status_code == 200 and replies[0].json()["usage"]["completion_tokens"] == 4


@pytest.mark.sanitize
def test_nowhere_to_go(cluster):
    c = cluster(workers=1)
    stream = Stream(c, 400)
    wait_for(lambda: stream.chunks >= 5, 60)
    c.workers[0].kill()
    text, finish, error = stream.result()
    assert text and finish is None and error and "worker" in error["message"]
    reply = c.post("/v1/completions", {"model": NAME, "prompt": "x"})
    assert reply.status_code == 503 and int(reply.headers["Retry-After"]) >= 1
    assert requests.get(c.url() + "/ready").status_code == 503
    assert requests.get(c.url() + "/health").status_code == 200
    c.start_worker(0)
    c.wait_ready(1)
    assert c.complete("back again", 2)


def test_worker_comes_back_under_the_same_name(cluster):
    c = cluster(workers=1)
    before = c.complete(PROMPT, 12)
    for _ in range(2):
        c.workers[0].kill()
        c.start_worker(0)
        wait_for(lambda: c._get(0, "/ready") == 200, 60)
        after = c.complete(PROMPT, 12)
        assert after["choices"][0]["text"] == before["choices"][0]["text"]


def test_router_killed_and_restarted(cluster):
    c = cluster(workers=2)
    streams = [Stream(c, 500) for _ in range(3)]
    wait_for(lambda: all(s.chunks > 2 for s in streams), 60)
    c.routers[0].kill()
    c.start_router(0)
    c.wait_ready(2)
    wait_for(lambda: c.metric("msgl_worker_running") == 0, 20)  # the dead router's reqs are freed
    assert c.complete(PROMPT, 4)


def test_two_routers_share_the_workers(cluster):
    c = cluster(workers=2, routers=2)
    a, b = c.complete(PROMPT, 12, i=0), c.complete(PROMPT, 12, i=1)
    assert a["choices"] [0]["text"] == b["choices"][0]["text"]
    # the second router knows from the worker what the first one's call left there
    assert b["usage"]["prompt_tokens_details"]["cached_tokens"] > 0 or a["usage"]["prompt_tokens"] <= 16
    streams = [Stream(c, 60, i=i % 2) for i in range(4)]
    wait_for(lambda: all(s.chunks > 2 for s in streams), 60)
    c.workers[0].kill()
    results = [s.result() for s in streams]
    assert all(r == results[0] and r[2] is None for r in results)


@pytest.mark.sanitize
def test_drain_finishes_what_runs(cluster):
    c = cluster(workers=2)
    whole = Stream(c, 100).result()
    stream = Stream(c, 100)
    wait_for(lambda: stream.chunks >= 5, 60)
    victim = c.workers[serving(c)]
    victim.popen.terminate()
    assert stream.result() == whole
    assert victim.popen.wait(30) == 0


def test_wrong_model_is_refused(cluster, tmp_path):
    import os
    import shutil
    c = cluster(workers=1)
    other = tmp_path / "other" / NAME
    shutil.copytree(c.model, other, symlinks=True)
    config = json.loads((other / "config.json").read_text())
    config["rope_theta"] = 12345.0
    (other / "config.json").write_text(json.dumps(config))
    from conftest import BUILD, Process
    intruder = Process([os.path.join(BUILD, "msgl-worker"), "--model", str(other), "--id", "intruder", "--threads", "1",
                        "--kv-mib", "64", "--router", c.wire()], str(tmp_path / "intruder.log"))
    wait_for(lambda: "differs from the router's" in intruder.text(), 30)
    assert c.metric("msgl_router_workers") == 1
    intruder.stop()


def test_port_in_use(cluster):
    import os
    import subprocess
    from conftest import BUILD
    c = cluster(workers=0, start=False)
    http, admin, wire = c.ports[0]
    done = subprocess.run([os.path.join(BUILD, "msgl-router"), "--model", c.model, "--port", str(http), "--admin-port", "0",
                           "--worker-endpoint", "tcp://127.0.0.1:*"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "in use" in done.stderr and str(http) in done.stderr
    done = subprocess.run([os.path.join(BUILD, "msgl-router"), "--model", c.model, "--port", "0", "--admin-port", "0",
                           "--worker-endpoint", f"tcp://127.0.0.1:{wire}"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "in use" in done.stderr
    done = subprocess.run([os.path.join(BUILD, "msgl-router"), "--model", c.model, "--port", "0", "--admin-port", str(admin),
                           "--worker-endpoint", "tcp://127.0.0.1:*"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "in use" in done.stderr and str(admin) in done.stderr


def test_interrupt_at_any_moment_leaves_nothing(cluster, tmp_path):
    """SIGINT to both programs at various moments of their start: they end, with no child behind."""
    import os
    from conftest import BUILD, MODEL, Process, free_port
    for delay in (0.0, 0.02, 0.1, 0.3, 0.8):
        worker = Process([os.path.join(BUILD, "msgl-worker"), "--model", MODEL, "--id", "w", "--threads", "1", "--kv-mib", "64",
                          "--router", f"tcp://127.0.0.1:{free_port()}"], str(tmp_path / "w.log"))
        router = Process([os.path.join(BUILD, "msgl-router"), "--model", MODEL, "--port", str(free_port()), "--admin-port", "0",
                          "--worker-endpoint", f"tcp://127.0.0.1:{free_port()}"], str(tmp_path / "r.log"))
        time.sleep(delay)
        worker.kill(signal.SIGINT)
        router.kill(signal.SIGINT)
