"""--engine sim: the text is a function of the prompt's token ids, so it is known beforehand, also
when workers die on the way."""
import itertools
import json
import os
import threading
import time

import pytest
import requests
from tokenizers import Tokenizer

from conftest import MODEL, SLOW, wait_for
from traffic import TABLE, expected

TABLE_TEXT = TABLE % 2000


@pytest.fixture
def tokenizer():
    return Tokenizer.from_file(os.path.join(MODEL, "tokenizer.json"))


def text_of(tokenizer, ids, count):
    return tokenizer.decode(expected(ids, count, tokenizer.get_vocab_size()), skip_special_tokens=True)


@pytest.fixture
def sim(cluster, tmp_path):
    table = tmp_path / "table.json"
    table.write_text(TABLE_TEXT)
    return lambda worker_extra=(), **args: cluster(
        worker_args=["--engine", "sim", "--sim-table", str(table), *worker_extra], **args)


def complete(cluster, ids, count, router=0):
    answer = requests.post(cluster.url(router) + "/v1/completions", timeout=60 * SLOW, json={
        "model": cluster.name, "prompt": ids, "max_tokens": count, "ignore_eos": True})
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["text"]


def test_text_is_known(sim, tokenizer):
    cluster = sim(workers=2, routers=2)
    shared = list(range(1000, 1100))
    for i in range(8):  # prefixes that share pages, in part
        ids = shared[:40 + 7 * i] + [2000 + i]
        assert complete(cluster, ids, 30, i % 2) == text_of(tokenizer, ids, 30)


@pytest.mark.sanitize
@pytest.mark.parametrize("gather_ms", [0, 30])
def test_no_token_is_lost_when_workers_die(sim, tokenizer, gather_ms):
    cluster = sim(workers=3, router_args=["--stream-gather-ms", str(gather_ms)])
    wrong, count = [], 300

    def call(i):
        ids = [3000 + i // 4] * 50 + [4000 + i]
        text = complete(cluster, ids, count)
        if text != text_of(tokenizer, ids, count):
            wrong.append((i, text))
    threads = [threading.Thread(target=call, args=(i,)) for i in range(24)]
    for thread in threads:
        thread.start()
    for victim in (0, 1):
        time.sleep(0.4)
        cluster.workers[victim].kill()
        time.sleep(0.2)
        cluster.start_worker(victim)
    for thread in threads:
        thread.join()
    wait_for(lambda: all(w.said("links.welcomed") for w in cluster.workers), 30)
    assert not wrong
    assert cluster.metric("msgl_router_resumed_total") > 0


def test_an_idle_worker_costs_nothing(sim):
    cluster = sim(workers=1)

    def cpu():
        with open(f"/proc/{cluster.workers[0].pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    complete(cluster, [1, 2, 3], 5)
    before = cpu()
    time.sleep(2)
    assert cpu() - before <= 0.04


@pytest.mark.parametrize("gather_ms, least, most", [(40, 7, 120), (1000, 6, 6)])
def test_a_stream_may_be_gathered(sim, tokenizer, gather_ms, least, most):
    """--stream-gather-ms: fewer events, the same text; the first token never waits."""
    cluster = sim(workers=1, router_args=["--stream-gather-ms", str(gather_ms)])
    ids, count, events = list(range(500, 540)), 150, []  # 2 ms a token
    with requests.post(cluster.url() + "/v1/completions", stream=True, timeout=60 * SLOW, json={
            "model": cluster.name, "prompt": ids, "max_tokens": count, "ignore_eos": True, "stream": True}) as answer:
        for line in answer.iter_lines():
            if line.startswith(b"data: {"):
                events.append(json.loads(line[6:])["choices"][0]["text"])
    assert "".join(events) == text_of(tokenizer, ids, count)
    assert events[0] == text_of(tokenizer, ids, 1)
    assert least <= len(events) <= most  # 32 tokens at most wait: 1, 4 x 32, 21
    assert cluster.metric("msgl_router_generated_tokens_total") == count


def test_routers_share_a_worker_fairly(sim):
    """Two saturated routers, one with three times the clients: equal shares within 10 %. One dies:
    the other has all slots soon."""
    cluster = sim(workers=1, routers=2, worker_extra=["--max-running", "8", "--max-waiting", "8"])
    done, stop, fresh = [0, 0], threading.Event(), itertools.count(300)

    def client(router):
        with requests.Session() as session:
            while not stop.is_set():
                try:
                    answer = session.post(cluster.url(router) + "/v1/completions", timeout=60 * SLOW, json={
                        "model": cluster.name, "prompt": [next(fresh)] * 20, "max_tokens": 60, "ignore_eos": True})
                except requests.RequestException:
                    return
                assert answer.status_code == 200, answer.text
                done[router] += 1
    threads = [threading.Thread(target=client, args=(r,)) for r, count in ((0, 36), (1, 12)) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1.5)
        before = list(done)
        time.sleep(5)
        a, b = done[0] - before[0], done[1] - before[1]
        assert a > 50 and 0.9 < a / b < 1.1, (a, b)
        cluster.routers[1].kill()
        wait_for(lambda: cluster.metric("msgl_worker_running") + cluster.metric("msgl_worker_waiting") >= 15 and
                 cluster.metric("msgl_router_queued") > 0, 5)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
