"""Real networks between routers and workers: each is a machine of its own (a network namespace), and the cables between them break,
in both directions or in one, delay, reorder and lose packets. What must hold is what holds when processes die (chaos.check()).

MSGL_CHAOS_SEED repeats a run."""
import os
import random
import time

import pytest

from chaos import BACK_S, OTHER, ROUTER_DEAD_S, Chaos, Fault, Stalls, World
from conftest import NAME, SLOW, wait_for
from networks import Network, why_not
from traffic import Traffic

REASON = why_not()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON or "-")
KINDS = ("cable of a worker", "cable of a router", "pair", "deaf", "mute", "slow", "lossy")
SLACK_S = 1.5 * SLOW  # what lies in TCP's windows when one direction is lost still counts as a sign of life


class Machines(World):
    """Each router and worker on a node of its own; whoever makes it lives on the node "client"."""

    def __init__(self, network, *args, **kwargs):
        self.network = network
        super().__init__(*args, wire_args=["--wire-plain"], **kwargs)

    def host(self, what, i):
        return self.network.address(f"{what}-{i}")

    def place(self, what, i):
        return self.network.place(f"{what}-{i}")


class Cuts(Chaos):
    """One fault after the other, each over before the next begins."""

    def __init__(self, world):
        super().__init__(world, SLACK_S)
        self.network = world.network

    def _begin(self, kind, target, hold):
        fault = Fault(kind, target, hold)
        self.faults.append(fault)
        return fault

    def one(self, kind, r, w, hold):
        router, worker = f"router-{r}", f"worker-{w}"
        if kind.startswith("cable"):
            name = router if kind.endswith("router") else worker
            fault = self._begin("cable", tuple((name[:6], int(name[7:]))), max(hold, ROUTER_DEAD_S + 1))
            self.network.cable(name, False)
            time.sleep(fault.hold)
            self.network.cable(name, True)
        elif kind == "deaf":  # the worker hears nothing of the router, which hears it for a while
            fault = self._begin(kind, ("worker", w), hold)
            self.network.blackhole(router, worker, True)
            time.sleep(hold)
            self.network.blackhole(router, worker, False)
        else:
            fault = self._begin(kind, ("worker", w), hold)
            rules = {"pair": [(1, 0, 0), (1, 0, 0)], "mute": [(0, 0, 0), (1, 0, 0)], "slow": [(0, 0.02, 0.06), (0, 0.02, 0.06)],
                     "lossy": [(0, 0, 0), (0.05, 0, 0)]}[kind]
            kernel = kind == "slow" and self.network.netem(worker, "delay", "50ms", "30ms")
            if not kernel:
                self._rule(router, worker, rules)
            time.sleep(hold)
            if kernel:
                self.network.netem(worker)
            else:
                self._rule(router, worker, [(0, 0, 0)] * 2)
        fault.down_until = time.monotonic()
        everything = range(self.world.count + 1), range(len(self.world.ports))
        wait_for(lambda: self.world.joined(*everything), BACK_S)
        fault.ended = time.monotonic()

    def _rule(self, router, worker, rules):
        self.network.rule(router, worker, *rules[0])
        self.network.rule(worker, router, *rules[1])


def run(folder, network, seed, rounds, streams):
    workers, routers = 2, 2
    world, stalls, traffic = Machines(network, folder, workers, routers), Stalls(), None
    try:
        for i in range(workers + 1):
            world.start_worker(i)
        wait_for(lambda: world.joined(range(workers + 1), range(routers)), 60)
        traffic = Traffic([(world.host("router", i), world.ports[i][0]) for i in range(routers)], world.model, streams, seed=seed,
                          names=[NAME] * 7 + [OTHER])
        wait_for(lambda: traffic.count("ok") > streams, 60)
        cuts, rng = Cuts(world), random.Random(seed)
        for _ in range(rounds):
            for kind in rng.sample(KINDS, len(KINDS)):
                cuts.one(kind, rng.randrange(routers), rng.randrange(workers), rng.uniform(2.5, 4.0) * SLOW)
        ok = traffic.count("ok")
        wait_for(lambda: traffic.count("ok") > ok + streams, 60)
        figures = cuts.check(traffic.stop(), stalls)
        wait_for(lambda: not world.empty(), 20)
        return figures
    finally:
        if traffic:
            traffic.stopping = traffic.balancer.stopping = True
        stalls.stop()
        problems = world.close()
        assert not problems, "\n".join(problems)


def cut_run(tmp_path, seed, rounds, streams):
    seed = int(os.environ.get("MSGL_CHAOS_SEED") or seed)
    print(f"MSGL_CHAOS_SEED={seed}")
    network = Network(["client", "router-0", "router-1", "worker-0", "worker-1", "worker-2"], seed)
    try:
        network.enter("client")
        figures = run(tmp_path, network, seed, rounds, streams)
    finally:
        packets = network.close()
    print(figures, packets)
    assert figures["faults"] == rounds * len(KINDS) and figures["moved"] > 0, figures
    assert packets["lost"] > 0 and (packets["overtaken"] > 0 or not packets["delayed"]), packets


def test_networks_break(tmp_path):
    cut_run(tmp_path, seed=1, rounds=1, streams=6)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_networks_break_for_long(tmp_path):
    cut_run(tmp_path, seed=1, rounds=10, streams=12)
