"""Workers and routers are restarted one after the other under load, as Kubernetes does it: no call fails, no token is lost.

The client is a load balancer that believes /ready and never repeats a call (tests/e2e/traffic.py)."""
import time

import pytest
import requests

from conftest import SLOW, wait_for
from traffic import TABLE, Traffic

SETTLE_S = 1  # longer than the balancer takes to notice


def make(cluster, tmp_path, workers, routers, drain_s, launch_us=5000):
    table = tmp_path / "table.json"
    table.write_text(TABLE % launch_us)
    return cluster(workers=workers, routers=routers,
                   router_args=["--drain-settle", str(SETTLE_S), "--drain-timeout", str(int(60 * SLOW))],
                   worker_args=["--engine", "sim", "--sim-table", str(table), "--drain-timeout", str(drain_s),
                                "--max-running", "16"])


def roll_worker(c, i):
    assert c.workers[i].kill(15) == 0, c.workers[i].text()
    c.start_worker(i)
    wait_for(lambda: c.workers[i].said("links.welcomed") >= len(c.routers), 30)


def roll_router(c, i):
    router = c.routers[i]
    router.popen.terminate()
    wait_for(lambda: requests.get(c.url(i) + "/ready", timeout=5).status_code == 503, SETTLE_S * 0.9, every=0.02)
    assert router.popen.wait(90 * SLOW) == 0, router.text()
    c.start_router(i)
    wait_for(lambda: c._get(i, "/ready") == 200, 30)


def check(c, outcomes, least):
    bad = [o for o in outcomes if o.kind != "ok"]
    assert not bad, f"{len(bad)} of {len(outcomes)}: {bad[:5]}"
    assert len(outcomes) >= least, len(outcomes)
    for i in range(len(c.routers)):
        wait_for(lambda: c.metric("msgl_router_streams", i) == 0 and c.metric("msgl_worker_running", i) == 0, 10)


@pytest.mark.parametrize("drain_s", [30, 0], ids=["finish", "move"])
def test_rolling_restart(cluster, tmp_path, drain_s):
    """Running reqs end on the worker that drains, or move to another one at once."""
    c = make(cluster, tmp_path, workers=2, routers=2, drain_s=drain_s)
    traffic = Traffic([p[0] for p in c.ports], c.model, streams=12, tokens=(40, 160))
    wait_for(lambda: traffic.count("ok") > 12, 30)
    for i in range(2):
        roll_worker(c, i)
    if drain_s:
        for i in range(2):
            roll_router(c, i)
    ok = traffic.count("ok")
    wait_for(lambda: traffic.count("ok") > ok + 24, 30)
    outcomes = traffic.stop()
    check(c, outcomes, 50)
    moved = sum(c.metric(f"msgl_router_{name}_total", i) for i in range(2) for name in ("resumed", "retried"))
    assert (moved > 0) == (drain_s == 0) or drain_s  # the routers of "finish" have been restarted
    assert max(o.gap for o in outcomes) < 3 * SLOW


@pytest.mark.long
def test_rolling_restart_of_four_and_two(cluster, tmp_path):
    c = make(cluster, tmp_path, workers=4, routers=2, drain_s=3, launch_us=10000)
    traffic = Traffic([p[0] for p in c.ports], c.model, streams=64, tokens=(50, 600))
    wait_for(lambda: traffic.count("ok") > 64, 60)
    for _ in range(3):
        for i in range(4):
            roll_worker(c, i)
        for i in range(2):
            roll_router(c, i)
    outcomes = traffic.stop()
    check(c, outcomes, 500)
    gaps = sorted(o.gap for o in outcomes)
    print(f"{len(outcomes)} calls, longest silence p50 {gaps[len(gaps) // 2]:.2f} s, max {gaps[-1]:.2f} s")


def test_ready_fails_before_the_port_closes(cluster, tmp_path):
    """Between SIGTERM and the end of --drain-settle a new connection is still answered; afterwards it is refused."""
    c = make(cluster, tmp_path, workers=1, routers=1, drain_s=5)
    router = c.routers[0]
    router.popen.terminate()
    began = time.monotonic()
    wait_for(lambda: c._get(0, "/ready") == 503, SETTLE_S * 0.9, every=0.02)
    assert c._get(0, "/health") == 200
    assert c.complete("still here", 2)["usage"]["completion_tokens"] == 2
    assert router.popen.wait(20 * SLOW) == 0
    assert time.monotonic() - began > SETTLE_S * 0.9
    assert c._get(0, "/ready") == 0
