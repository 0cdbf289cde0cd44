"""Constant traffic, and everything that a seed can think of happens to routers and workers: killed, stopped and continued, drained,
replaced under the same name, started late, joined by workers of another model or version. What must hold: chaos.check(). The long
suite does it for 20 minutes, and for 5 with SmolLM2 (greedy.py).

MSGL_CHAOS_SEED repeats a run; MSGL_CHAOS_S makes it shorter or longer."""
import os
import time

import pytest

from chaos import OTHER, SLACK_S, Chaos, Stalls, World, plan
from conftest import NAME, SLOW, wait_for
from greedy import GreedyTexts, GreedyWorld
from traffic import Traffic


def chaos_run(tmp_path, seed, seconds, workers, routers, streams, every_s, least, make=World, slack_s=SLACK_S, texts=None, calls_s=1.0):
    """make: the world; texts(world): what is right; least: faults a 100 s; calls_s: calls a second, at least."""
    seed = int(os.environ.get("MSGL_CHAOS_SEED") or seed)
    seconds = float(os.environ.get("MSGL_CHAOS_S") or seconds)
    print(f"MSGL_CHAOS_SEED={seed} for {seconds:.0f} s")
    world, stalls, traffic = make(tmp_path, workers, routers), Stalls(), None
    try:
        for i in range(workers + 1):
            if i != 1:
                world.start_worker(i)  # worker 1 comes late
        wait_for(lambda: world.joined([i for i in range(workers + 1) if i != 1], range(routers)), 60)
        right = texts and texts(world)
        traffic = Traffic([p[0] for p in world.ports], world.model, streams, seed=seed, names=[NAME] * 7 + [OTHER], texts=right)
        chaos = Chaos(world, slack_s)
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
        assert figures["faults"] >= least * seconds / 100 and figures["ok"] > calls_s * seconds, figures
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


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_chaos_with_a_real_model(tmp_path):
    """SmolLM2's greedy text, to the last byte, through every resume. A step of the cpu engine takes long here, so its slack is wide."""
    chaos_run(tmp_path, time.time_ns() % 1000000, seconds=300, workers=3, routers=2, streams=6, every_s=3, least=8, make=GreedyWorld,
              slack_s=6 * SLOW, texts=lambda world: GreedyTexts(world, (24, 80)), calls_s=0.1)
