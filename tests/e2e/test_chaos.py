"""Constant traffic, and everything that a seed can think of happens to routers and workers: killed, stopped and continued, drained,
replaced under the same name, started late, joined by workers of another model or version. What must hold: chaos.check().

MSGL_CHAOS_SEED repeats a run; MSGL_CHAOS_S makes it shorter or longer."""
import os
import time

import pytest

from chaos import OTHER, Chaos, Stalls, World, plan
from conftest import NAME, SLOW, wait_for
from traffic import Traffic


def chaos_run(tmp_path, seed, seconds, workers, routers, streams, every_s, least):
    seed = int(os.environ.get("MSGL_CHAOS_SEED") or seed)
    seconds = float(os.environ.get("MSGL_CHAOS_S") or seconds)
    print(f"MSGL_CHAOS_SEED={seed} for {seconds:.0f} s")
    world, stalls, traffic = World(tmp_path, workers, routers), Stalls(), None
    try:
        for i in range(workers + 1):
            if i != 1:
                world.start_worker(i)  # worker 1 comes late
        wait_for(lambda: world.joined([i for i in range(workers + 1) if i != 1], range(routers)), 60)
        traffic = Traffic([p[0] for p in world.ports], world.model, streams, seed=seed, names=[NAME] * 7 + [OTHER])
        chaos = Chaos(world)
        wait_for(lambda: traffic.count("ok") > streams, 60)
        world.start_worker(1)
        wait_for(lambda: world.joined([1], range(routers)), 60)
        chaos.run(plan(seed, seconds, every_s, workers, routers), seconds)
        ok = traffic.count("ok")
        wait_for(lambda: traffic.count("ok") > ok + streams, 60)
        outcomes = traffic.stop()
        figures = chaos.check(outcomes, stalls)
        print(figures)
        wait_for(lambda: not world.empty(), 20)
        assert figures["faults"] >= least * seconds / 100 and figures["ok"] > seconds, figures
        assert seconds < 60 or (figures["moved"] and figures["freed"]), figures
    finally:
        if traffic:
            traffic.stopping = traffic.balancer.stopping = True
        stalls.stop()
        problems = world.close()
    assert not problems, "\n".join(problems)


def test_chaos(tmp_path):
    chaos_run(tmp_path, seed=1, seconds=80, workers=4, routers=2, streams=12, every_s=1.5, least=25)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_chaos_of_20_minutes(tmp_path):
    chaos_run(tmp_path, time.time_ns() % 1000000, seconds=1200, workers=6, routers=3, streams=24, every_s=1.2, least=25)
