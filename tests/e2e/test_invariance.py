"""The answer does not depend on how the work is done: chunks, pages, cache, overlap, neighbours."""
import pytest
from concurrent.futures import ThreadPoolExecutor

PROMPTS = ["The history of the compass begins", "def fibonacci(n):", "Water boils at", "In the year 1500, " * 40]
TOKENS = 16


def answers(c, **fields):
    return [c.complete(p, TOKENS, ignore_eos=True, **fields)["choices"][0]["text"] for p in PROMPTS]


@pytest.fixture(scope="module")
def expected(shared):
    return {"greedy": answers(shared), "drawn": answers(shared, temperature=0.8, seed=3)}


# Each option once; two at a time, since the engine's own tests (tests/worker/engine/test_invariance.c) have them one by one.
@pytest.mark.parametrize("args", [
    ["--no-overlap", "--page-size", "4"], ["--chunk-tokens", "7", "--threads", "2"], ["--chunk-tokens", "64", "--step-tokens", "64", "--page-size", "64"],
    ["--cache", "naive"], ["--max-running", "2", "--no-prefix-groups"],
], ids=" ".join)
def test_same_tokens_with(cluster, expected, args):
    c = cluster(workers=1, worker_args=args)
    assert answers(c) == expected["greedy"]
    assert answers(c, temperature=0.8, seed=3) == expected["drawn"]
    with ThreadPoolExecutor(8) as pool:  # with neighbours, most of them cached by now
        together = list(pool.map(lambda p: c.complete(p, TOKENS, ignore_eos=True)["choices"][0]["text"], PROMPTS * 2))
    assert together == expected["greedy"] * 2


def test_same_tokens_under_retraction(cluster, expected):
    """A pool so small that running reqs must be retracted: short answers first, so that admission expects short ones."""
    c = cluster(workers=1, worker_args=["--kv-mib", "20", "--context-max", "400"])
    for i in range(30):
        c.complete(f"Short {i}", 1)
    with ThreadPoolExecutor(8) as pool:
        long = list(pool.map(lambda p: c.complete(p, 120, ignore_eos=True)["choices"][0]["text"], PROMPTS[:3] * 4))
    assert long[:3] * 4 == long
    assert all(t.startswith(e) for t, e in zip(long[:3], expected["greedy"]))
    assert c.metric("msgl_worker_retractions") > 0
