"""--kv-store: a worker is killed and started again, and its cached pages are still there."""
import os
import re
import subprocess
import threading
import time

import pytest

from conftest import BUILD, MODEL, SLOW, wait_for
from traffic import TABLE, Texts, Traffic


def start(cluster, i, *args):
    return cluster.start_worker(i, ["--kv-store", os.path.join(cluster.folder, f"store-{i}"), *args])


def joined(cluster, workers):
    wait_for(lambda: all(cluster.metric("msgl_router_workers", r) == workers for r in range(len(cluster.routers))), 60 * SLOW)


def restored(process):
    """(pages, dropped) of its start."""
    with open(process.log_path, encoding="utf-8") as f:
        f.seek(process.log_start)
        found = re.search(r"store_restored .*pages=(\d+) dropped=(\d+)", f.read())
    return int(found.group(1)), int(found.group(2))


@pytest.fixture
def stored(cluster, tmp_path):
    """Routers and workers, each with a store of its own."""
    def make(workers, engine=(), **args):
        c = cluster(workers=0, start=False, **args)
        c.worker_args += engine
        for i in range(workers):
            start(c, i)
        c.wait_ready(workers)
        joined(c, workers)
        return c
    return make


@pytest.mark.sanitize
def test_what_was_cached_is_cached_after_a_kill(stored):
    """The cpu engine: the same text, from the cache, although another stream was on its way when the worker died."""
    cluster = stored(1)
    ids = [(i * 37) % 200 + 20 for i in range(150)]
    first = cluster.complete(ids, 24, ignore_eos=True)
    body = {"model": cluster.name, "prompt": [i + 5 for i in ids], "max_tokens": 200, "ignore_eos": True}
    other = threading.Thread(target=cluster.post, args=("/v1/completions", body))  # a 503: nobody can take it over
    other.start()
    wait_for(lambda: cluster.metric("msgl_router_generated_tokens_total") > 34, 60 * SLOW)
    cluster.workers[0].kill()
    start(cluster, 0)
    other.join()
    cluster.wait_ready(1)
    again = cluster.complete(ids, 24, ignore_eos=True)
    assert again["choices"][0]["text"] == first["choices"][0]["text"]
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] >= 144
    pages, dropped = restored(cluster.workers[0])
    assert pages >= 10 and dropped == 0


@pytest.mark.sanitize
def test_under_load_nothing_is_wrong_and_nothing_is_lost(stored, tmp_path):
    """The sim engine tells of any page that is not what the tree says. Workers die in turn under load."""
    table = tmp_path / "table.json"
    table.write_text(TABLE % 2000)
    cluster = stored(2, ["--engine", "sim", "--sim-table", str(table)], routers=2)
    traffic = Traffic([p[0] for p in cluster.ports], MODEL, streams=12, limit_s=60 * SLOW)
    for turn in range(6):
        time.sleep(0.7 * SLOW)
        victim = turn % 2
        cluster.workers[victim].kill()
        worker = start(cluster, victim)
        wait_for(lambda: worker.said("links.welcomed"), 60 * SLOW)
        pages, dropped = restored(worker)
        assert pages > 0 and dropped == 0, worker.text()
    bad = [o for o in traffic.stop() if o.kind != "ok"]
    assert not bad and len(traffic.outcomes) > 24, bad


def test_routers_know_at_once_what_came_back(stored, tmp_path):
    """The newcomer's first word of its cache has the pages: the first call like an earlier one goes there, to be computed
    from the cache, not to the idle worker beside it."""
    table = tmp_path / "table.json"
    table.write_text(TABLE % 2000)
    cluster = stored(2, ["--engine", "sim", "--sim-table", str(table)])
    texts, families = Texts(MODEL), [[1000 + f] * 400 for f in range(6)]
    for ids in families:
        cluster.complete(ids, 4, ignore_eos=True)
    for victim in (0, 1):
        cluster.workers[victim].kill()
        start(cluster, victim)
        wait_for(lambda: cluster.workers[victim].said("links.welcomed"), 60 * SLOW)
    joined(cluster, 2)
    for ids in families:
        answer = cluster.complete(ids, 4, ignore_eos=True)
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] >= 384
        assert answer["choices"][0]["text"] == texts.of(ids, 4)


def test_one_worker_a_store(stored):
    cluster = stored(1)
    second = subprocess.run([os.path.join(BUILD, "msgl-worker"), "--model", cluster.model, "--router", cluster.wire(), "--kv-mib", "256",
                             "--kv-store", os.path.join(cluster.folder, "store-0")], capture_output=True, text=True, timeout=60 * SLOW)
    assert second.returncode != 0 and "each needs a --kv-store of its own" in second.stderr
