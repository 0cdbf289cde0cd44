"""bench_rehearse: the scheduler in a table's time, where every run is the same."""
import json
import os
import subprocess

import pytest
from conftest import BUILD

FIELDS = "work,seed,step_ms,seconds,out_tok_per_s,ttft_p50,ttft_p99,itl_p50,itl_p99,steps,mixed,mixed_ms".split(",")


def rehearse(*words):
    return subprocess.run([os.path.join(BUILD, "bench_rehearse"), *words], capture_output=True, text=True, timeout=120)


def row(*words):
    done = rehearse(*words)
    assert done.returncode == 0, done.stderr
    return dict(zip(FIELDS, done.stdout.strip().split(",")[1:]))


def test_a_load_is_the_same_each_time():
    words = ["--work", "open:15:20", "--seed", "3"]
    assert row(*words) == row(*words) != row(*words[:3], "4")


def test_prompts_are_not_cut_for_little(tmp_path):
    """Calls of 509 new tokens where 450 fit beside the streams into 25 ms: a quarter more takes them whole, one mixed step
    a call; and no stream waits longer than that quarter."""
    got = row("--work", "open:15:60", "--step-ms", "25")
    assert int(got["mixed"]) <= 900
    assert float(got["itl_p99"]) <= 25 * 1.25 + 1
    assert float(got["ttft_p50"]) < 50


def test_one_call_takes_its_time(tmp_path):
    """One prompt of 1,635 tokens at 10 us, 150 tokens at 1 ms, each step begun 0.1 ms after it was planned."""
    table = tmp_path / "table.json"
    table.write_text(json.dumps({"launch_us": 1000, "token_us": 10, "kv_token_bytes": 1024, "pool_mib": 64}))
    got = row("--work", "chat:1:1", "--table", str(table), "--host-us", "100")
    assert float(got["ttft_p50"]) == pytest.approx(1 + 16.35 + 0.1, abs=0.06)
    assert float(got["itl_p50"]) == pytest.approx(1.01, abs=0.11)


@pytest.mark.parametrize("words,what", [(["--work", "chat:0:2"], "chat:0:2"), (["--work", "often"], "often"),
                                        (["--table", "h300"], "h300"), (["--step-ms", "-1"], "step-ms")])
def test_bad_words_are_named(words, what):
    done = rehearse(*words)
    assert done.returncode != 0 and what in done.stderr
