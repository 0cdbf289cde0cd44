"""/cluster/events as a tool sees it: all of it, then only what changes, the same for every listener."""
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from conftest import MODEL, NAME, SLOW, wait_for
from mirror import Mirror
from scripted_worker import ScriptedWorker

LONG = "The quick brown fox jumps over the lazy dog. " * 30


@pytest.fixture
def fleet(cluster):
    """fleet(n): a router with n scripted workers, and mirrors that are closed at the end."""
    made = []

    def make(workers=2, router_args=(), **kwargs):
        c = cluster(workers=0, start=False, router_args=router_args)
        c.scripted = [ScriptedWorker(c.wire(), MODEL, name=f"scripted-{i}", **kwargs) for i in range(workers)]
        made.extend(c.scripted)

        def mirror(**key):
            made.append(Mirror(c.admin(), **key))
            return made[-1]
        c.mirror = mirror
        for worker in c.scripted:
            worker.eos_after = 8
        wait_for(lambda: all(w.welcomed for w in c.scripted), 20)
        return c
    yield make
    for thing in reversed(made):
        thing.close() if isinstance(thing, Mirror) else thing.stop()


def test_all_of_it_then_the_changes(fleet):
    c = fleet()
    early = c.mirror()
    wait_for(lambda: len(early.workers) == 2, 10)
    assert early.router["policy"] == "prefix" and early.kinds() == ["joined", "joined"]
    c.complete(LONG, 8)
    # The holder has nothing left to compute and the router knows: it is where the next one goes.
    wait_for(lambda: early.nodes and early.decisions, 10)
    wait_for(lambda: all(w["pending"] == w["running"] == w["streams"] == 0 for w in early.workers.values()), 10)
    c.complete(LONG + "And then?", 8)
    wait_for(lambda: len(early.decisions) == 2 and early.nodes, 10)
    first, second = (early.decisions[n] for n in sorted(early.decisions))
    assert first["of"] == second["of"] == 2 and first["reason"] == "load" and second["reason"] == "prefix"
    chosen = second["candidates"][second["chosen"]]
    assert chosen["held"] > 200 and chosen["cost"] == min(x["cost"] for x in second["candidates"])
    assert chosen["id"] == first["candidates"][first["chosen"]]["id"]
    # The tree: one prefix, held by one worker, warm from the second prompt.
    wait_for(lambda: early.tree["pages"] == sum(len(w.cache) for w in c.scripted), 10)
    top = max(early.nodes.values(), key=lambda n: n["below"])
    assert top["parent"] == 0 and top["names"] == [chosen["id"]] and top["holders"] == 1
    wait_for(lambda: any(n["heat"] > 0 for n in early.nodes.values()), 10)
    assert early.workers[chosen["id"]]["known"] == early.tree["pages"]
    # Who comes later is told the same at once.
    late = c.mirror()
    wait_for(lambda: late.messages and late.same(early), 20)
    assert late.decisions == early.decisions and late.events == early.events
    # Nothing happens: nothing is said, once rates and warmth have died down.
    wait_for(lambda: early.quiet(3), 60)
    assert late.same(early) and all(w["tokens_s"] == 0 and w["running"] == 0 for w in early.workers.values())


@pytest.mark.sanitize
def test_tree_follows_branches_and_drops(fleet):
    c = fleet(workers=1)
    mirror = c.mirror()
    for tail in ("one " * 40, "two " * 40, "three " * 40):
        c.complete(LONG + tail, 8)
    wait_for(lambda: len(mirror.nodes) == 4, 10)
    top = next(n for n in mirror.nodes.values() if n["parent"] == 0)
    leaves = [n for n in mirror.nodes.values() if n["parent"] == top["id"]]
    assert len(leaves) == 3 and top["below"] == top["pages"] + sum(n["pages"] for n in leaves) == mirror.tree["pages"]
    assert top["hidden"] == 0 and top["pages"] * 16 >= 250
    c.scripted[0].stop()
    wait_for(lambda: not mirror.nodes and mirror.tree["pages"] == 0 and not mirror.workers, 10)
    assert mirror.kinds()[-1] == "left"


@pytest.mark.sanitize
def test_death_and_resumed_streams(fleet):
    c = fleet()
    for worker in c.scripted:
        worker.eos_after, worker.step_s = 120, 0.05
    mirror = c.mirror()
    reply = c.post("/v1/completions", {"model": NAME, "prompt": LONG, "max_tokens": 150, "stream": True}, stream=True)
    lines = reply.iter_lines()
    while b"data: {" not in next(lines):
        pass
    busy = wait_for(lambda: next((w for w in c.scripted if w.reqs and next(iter(w.reqs.values())).done > 3), None), 10)
    other = next(w for w in c.scripted if w is not busy)
    wait_for(lambda: mirror.worker(busy.name)["streams"] == 1, 10)
    other.step_s = 0.002
    busy.kill()
    assert b"data: [DONE]" in list(lines)
    wait_for(lambda: "died" in mirror.kinds(busy.name) and "resumed" in mirror.kinds(other.name), 10)
    assert mirror.worker(busy.name) is None
    last = mirror.decisions[max(mirror.decisions)]
    assert last["attempt"] == 2 and last["generated"] > 3 and last["reason"] == "only"
    other.draining = True
    wait_for(lambda: mirror.kinds(other.name)[-1] == "draining" and mirror.worker(other.name)["draining"] == 1, 10)
    other.draining = False
    wait_for(lambda: mirror.kinds(other.name)[-1] == "serving" and mirror.worker(other.name)["draining"] == 0, 10)


def test_rates(fleet):
    c = fleet(workers=1)
    c.scripted[0].eos_after, c.scripted[0].step_s = 400, 0.02
    mirror = c.mirror()
    c.complete(LONG, 1)
    reply = c.post("/v1/completions", {"model": NAME, "prompt": LONG, "max_tokens": 300, "stream": True}, stream=True)
    seen = wait_for(lambda: mirror.workers and next(iter(mirror.workers.values()))["tokens_s"], 20)
    assert 1 <= seen <= 60  # 50 a second when nobody else wants the CPU
    row = next(iter(mirror.workers.values()))
    assert row["step_us"] >= 15000 and 0 < row["hit"] <= 1000
    reply.close()


@pytest.mark.parametrize("args,good,bad", [
    (["--api-key", "sk-api-key-1"], "sk-api-key-1", [None, "sk-other-key"]),
    (["--api-key", "sk-api-key-1", "--admin-key", "sk-admin-key"], "sk-admin-key", [None, "sk-api-key-1"]),
    (["--admin-key", "sk-admin-key"], "sk-admin-key", [None, "sk-api-key-1"]),
])
def test_key(fleet, args, good, bad):
    c = fleet(workers=1, router_args=args)
    for key in bad:
        for path in ("/cluster", "/cluster/events"):
            reply = requests.get(c.admin() + path, headers={"Authorization": f"Bearer {key}"} if key else {}, timeout=5)
            assert reply.status_code == 401 and reply.json()["error"]["code"] == "invalid_api_key"
    mirror = c.mirror(key=good)
    wait_for(lambda: mirror.workers, 10)
    assert requests.get(c.admin() + "/cluster", headers={"Authorization": f"Bearer {good}"}, timeout=5).status_code == 200
    assert requests.get(c.admin() + "/metrics", timeout=5).status_code == 200
    assert requests.get(c.url() + "/cluster/events", timeout=5).status_code == 404


@pytest.mark.sanitize
def test_slow_readers_are_cut_off(fleet):
    """A listener that never reads is dropped after a bounded backlog; the others notice nothing."""
    c = fleet(workers=10)
    mirror = c.mirror()
    sockets = []
    for _ in range(3):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)  # else the kernel takes megabytes in the readers' stead
        s.connect(("127.0.0.1", int(c.admin().rsplit(":", 1)[1])))
        s.sendall(b"GET /cluster/events HTTP/1.1\r\nHost: x\r\n\r\n")
        sockets.append(s)

    def cut_off():
        c.complete(str(time.monotonic()), 1, n=32)  # 32 decisions of ten workers each
        return c.metric("msgl_router_slow_readers_total") == 3
    try:
        wait_for(cut_off, 60)
        messages = mirror.messages
        c.complete(LONG, 8)
        wait_for(lambda: mirror.messages > messages and not mirror.ended, 10)
    finally:
        for s in sockets:
            s.close()


@pytest.mark.sanitize
def test_listeners_come_and_go(fleet):
    c = fleet(workers=1)
    for round_number in range(2):
        with ThreadPoolExecutor(20) as pool:  # each is answered with a tick of the router
            mirrors = list(pool.map(lambda _: c.mirror(), range(20)))
        c.complete(LONG + "x" * round_number, 4)
        wait_for(lambda: all(m.decisions and len(m.decisions) == round_number + 1 for m in mirrors), 20)
        for mirror in mirrors:
            mirror.close()
    assert SLOW > 1 or c.routers[0].rss_mib() < 600
