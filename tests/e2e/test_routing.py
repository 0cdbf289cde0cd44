"""Prompts land where their prefix is cached, with two and four workers; load spreads when it must."""
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import wait_for

SYSTEM = "You are a careful assistant for the harbour of {0}. " * 6


def cached(reply):
    return reply["usage"]["prompt_tokens_details"]["cached_tokens"]


@pytest.mark.parametrize("workers", [2, 4])
def test_prefix_goes_home(cluster, workers):
    c = cluster(workers=workers)
    towns = ["Brest", "Oslo", "Genoa", "Lima", "Perth", "Cork"]
    for town in towns:
        c.complete(SYSTEM.format(town), 1)
    for round_ in range(3):
        for town in towns:
            reply = c.complete(SYSTEM.format(town) + f"Question {round_}: what is", 2)
            assert cached(reply) >= 48, f"{town} in round {round_}: {reply['usage']}"
    used = [v for (n, _), v in c.metrics().items() if n == "msgl_router_dispatched_total"]
    assert len([v for v in used if v > 0]) >= 2, "everything went to one worker"


def test_burst_of_siblings_goes_to_one_place(cluster):
    """Before the first CACHE frame is back, speculative entries keep siblings together."""
    c = cluster(workers=4)
    prompt = SYSTEM.format("Bergen") * 4
    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda i: c.complete(prompt + f" Item {i}", 2), range(4)))
    assert sum(cached(r) > 100 for r in replies) >= 2, [cached(r) for r in replies]


def test_cache_survives_in_a_new_routers_index(cluster):
    """A router that starts late learns the caches by SNAPSHOT."""
    c = cluster(workers=2)
    c.complete(SYSTEM.format("Turku"), 1)
    c.routers[0].kill()
    c.start_router(0)
    c.wait_ready(2)
    wait_for(lambda: c.metric("msgl_router_index_pages") > 0, 10)
    assert cached(c.complete(SYSTEM.format("Turku") + "Next:", 1)) >= 48


def test_namespaces_do_not_share(cluster):
    c = cluster(workers=1)
    prompt = SYSTEM.format("Bilbao")
    assert cached(c.complete(prompt, 1, cache_salt="a")) == 0
    assert cached(c.complete(prompt, 1, cache_salt="b")) == 0
    assert cached(c.complete(prompt, 1, cache_salt="a")) >= 48
    assert cached(c.complete(prompt, 1)) == 0


@pytest.mark.parametrize("policy", ["prefix", "least", "rr"])
def test_every_policy_answers(cluster, policy):
    c = cluster(workers=2, router_args=["--policy", policy])
    texts = {c.complete(f"Policy test {i % 2}", 4)["choices"][0]["text"] for i in range(4)}
    assert 1 <= len(texts) <= 2


def test_full_queue_is_429(cluster):
    c = cluster(workers=1, worker_args=["--max-running", "1", "--max-waiting", "1"], router_args=["--queue-max", "2"])

    def ask(i):
        reply = c.post("/v1/completions", {"model": c.name, "prompt": f"{i} x", "max_tokens": 60, "ignore_eos": True})
        return reply.status_code, reply.headers.get("Retry-After")
    with ThreadPoolExecutor(24) as pool:
        replies = list(pool.map(ask, range(24)))
    codes = [code for code, _ in replies]
    assert set(codes) == {200, 429}, codes
    assert all(int(after) >= 1 for code, after in replies if code == 429)
    assert codes.count(200) >= 3
    assert c.complete("and now", 1)
