"""The real msgl-worker with a real model, driven by a scripted router (fake_router.py).

MSGL_WORKER_ARGS: more options for each worker, for example --dummy-weights with a tiny config."""
import os
import random
import shutil
import signal
import subprocess
import time

import msgpack
import pytest

from conftest import BUILD, MODEL, SLOW, Process
from fake_router import BYE, CANCELLED, DRAIN, LENGTH, LOAD, FakeRouter

WORKER = os.path.join(BUILD, "msgl-worker")
PROMPT = [1, 4093, 198, 504, 2380, 281, 4649, 314] * 6


def start(folder, routers, *args, model=MODEL, name="worker"):
    argv = [WORKER, "--model", model, "--id", "w", "--threads", "1", "--kv-mib", "128", *args,
            *os.environ.get("MSGL_WORKER_ARGS", "").split()]
    for router in routers:
        argv += ["--router", router.endpoint]
    return Process(argv, os.path.join(folder, name + ".log"))


def wait_exit(process):
    return process.popen.wait(timeout=30 * SLOW)


@pytest.fixture
def router():
    router = FakeRouter()
    yield router
    router.close()


@pytest.fixture
def worker(tmp_path, router):
    process = start(str(tmp_path), [router])
    router.greet(60 * SLOW)
    yield process
    assert process.stop() == 0, process.text()
    assert "ERROR" not in process.text() and "runtime error" not in process.text()


def test_same_tokens_whatever_is_cached_beside_or_resumed(router, worker):
    router.generate(1, PROMPT, 24)
    alone, finish, cached = router.collect(1, seconds=60 * SLOW)
    assert (len(alone), finish, cached) == (24, LENGTH, 0)
    for call in range(2, 8):  # the same, with others beside it and the prompt in the cache
        router.generate(call, PROMPT, 24)
    for call in range(2, 8):
        tokens, finish, cached = router.collect(call, seconds=60 * SLOW)
        assert tokens == alone and finish == LENGTH
        assert cached == 32  # whole pages before the last token of 48
    router.generate(9, PROMPT + alone[:10], 24, attempt=4, np=len(PROMPT))
    tokens, _, _ = router.collect(9, attempt=4, first=10, seconds=60 * SLOW)
    assert alone[:10] + tokens == alone


def test_cancel_frees_the_credit(router, worker):
    slots = router.load["cr"]
    router.generate(1, PROMPT, 2000)
    router.next_item(1, seconds=60 * SLOW)
    router.cancel(1)
    while True:
        item = router.next_item(1, seconds=60 * SLOW)
        if item.get("z"):
            break
    assert item["z"] == CANCELLED and item["f"] < 200
    assert router.wait_idle(30 * SLOW)["cr"] == slots


def test_errors_for_reqs_that_cannot_run(router, worker):
    limit = router.hello["lm"]
    router.generate(1, [5] * (limit + 1), 4)
    assert router.next_item(1, seconds=30 * SLOW)["error"] == 2  # too_long
    router.generate(2, [4_000_000_000], 4)
    assert router.next_item(2)["error"] == 1  # invalid
    router.generate(3, PROMPT, 4, pp=0.5)  # a penalty is no reason to refuse
    assert len(router.collect(3)[0]) == 4


def test_junk_frames_change_nothing(router, worker):
    rng = random.Random(7)
    good = msgpack.packb({"t": 3, **router.key(99), "k": b"\x01\0\0\0", "np": 1, "mx": 1, "te": 0,
                          "sd": 1})
    router.generate(1, PROMPT, 40)
    for n in range(3000):
        junk = bytearray(good if n % 2 else rng.randbytes(rng.randrange(1, 80)))
        if n % 2:
            junk[rng.randrange(len(junk))] = rng.randrange(256)
        router.send_bytes(bytes(junk))
    tokens, finish, _ = router.collect(1, seconds=60 * SLOW)
    assert len(tokens) == 40 and finish == LENGTH
    assert router.hello["s"] == 1  # still the first session


def test_router_restarts(router, tmp_path):
    process = start(str(tmp_path), [router])
    router.greet(60 * SLOW)
    router.generate(1, PROMPT, 2000)
    router.next_item(1, seconds=60 * SLOW)
    session, endpoint = router.hello["s"], router.endpoint
    router.close()
    again = FakeRouter(endpoint)
    try:
        again.greet(30 * SLOW)
        assert again.hello["s"] > session
        again.wait_idle(30 * SLOW)  # the old router's req is gone
        again.generate(1, PROMPT, 8)
        assert len(again.collect(1, seconds=60 * SLOW)[0]) == 8
        assert process.stop() == 0, process.text()
    finally:
        again.close()
        router.socket, router.context = again.socket, again.context


def test_two_routers_share_a_worker(router, tmp_path):
    other = FakeRouter()
    process = start(str(tmp_path), [router, other])
    router.greet(60 * SLOW)
    other.greet(60 * SLOW)
    router.generate(1, PROMPT, 16)
    other.generate(1, PROMPT, 16)
    assert router.collect(1, seconds=60 * SLOW)[0] == other.collect(1, seconds=60 * SLOW)[0]
    assert process.stop() == 0, process.text()
    other.close()


def test_sigterm_finishes_what_runs(router, tmp_path):
    process = start(str(tmp_path), [router])
    router.greet(60 * SLOW)
    router.generate(1, PROMPT, 30)
    router.next_item(1, seconds=60 * SLOW)
    process.popen.send_signal(signal.SIGTERM)
    router.wait(DRAIN, 30 * SLOW)
    router.generate(2, PROMPT, 30)
    tokens, finish, _ = router.collect(1, first=1, seconds=60 * SLOW)
    assert len(tokens) == 29 and finish == LENGTH
    assert router.next_item(2)["error"] == 9  # unavailable
    router.wait(BYE, 30 * SLOW)
    assert wait_exit(process) == 0


def test_second_signal_does_not_wait(router, tmp_path):
    process = start(str(tmp_path), [router])
    router.greet(60 * SLOW)
    router.generate(1, PROMPT, 4000)
    router.next_item(1, seconds=60 * SLOW)
    process.popen.send_signal(signal.SIGINT)
    router.wait(DRAIN, 30 * SLOW)
    process.popen.send_signal(signal.SIGINT)
    assert wait_exit(process) not in (0, None)


def test_heartbeats_while_a_long_prompt_is_read(router, worker):
    router.generate(1, [(i * 37) % 40000 for i in range(3000)], 1)
    last, gap = time.monotonic(), 0.0
    while True:
        frame = router.receive(10)
        assert frame
        if frame["t"] == LOAD:
            gap, last = max(gap, time.monotonic() - last), time.monotonic()
        router._keep(frame)
        if any(item["c"] == 1 for item in router.kept):
            break
    assert gap < 1.0 * SLOW


def test_no_overlap_gives_the_same_tokens(router, tmp_path):
    answers = []
    for n, args in enumerate([(), ("--no-overlap",), ("--cache", "naive"), ("--chunk-tokens", "7"),
                              ("--page-size", "32")]):
        process = start(str(tmp_path), [router], *args, name=f"worker-{n}")
        router.greet(60 * SLOW)
        router.generate(n, PROMPT, 24)
        answers.append(router.collect(n, seconds=60 * SLOW)[0])
        assert process.stop() == 0, process.text()
        router.welcomed_at = 0.0
        while router.receive(0.05):
            pass
    assert all(answer == answers[0] for answer in answers)


def folder_without(tmp_path, missing):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        if name != missing:
            os.symlink(os.path.join(MODEL, name), folder / name)
    return folder


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_one_sentence(tmp_path, missing):
    folder = folder_without(tmp_path, missing)
    done = run_bad(folder)
    assert missing.split(".")[0] in done


@pytest.mark.parametrize("name,content", [
    ("config.json", b"{"), ("config.json", b"[]"), ("config.json", b'{"model_type": "unheard"}'),
    ("model.safetensors", b""), ("model.safetensors", b"\xff" * 64),
    ("model.safetensors", b"\x02\0\0\0\0\0\0\0{}")])
def test_a_broken_file_is_one_sentence(tmp_path, name, content):
    folder = folder_without(tmp_path, name)
    (folder / name).write_bytes(content)
    run_bad(folder)


def test_truncated_weights_are_one_sentence(tmp_path):
    folder = folder_without(tmp_path, "model.safetensors")
    weights = folder / "model.safetensors"
    shutil.copy(os.path.join(MODEL, "model.safetensors"), weights)
    os.truncate(weights, os.path.getsize(weights) // 2)
    run_bad(folder)


def run_bad(folder):
    done = subprocess.run([WORKER, "--model", str(folder), "--router", "tcp://127.0.0.1:9"],
                          capture_output=True, text=True, timeout=120 * SLOW)
    said = [line for line in done.stderr.splitlines() if line.startswith("msgl-worker: ")]
    assert done.returncode == 2, done.stderr
    assert len(said) == 1 and said[0].endswith("."), done.stderr
    return said[0]


@pytest.mark.parametrize("args", [["--page-size", "24"], ["--router", "nonsense"], ["--tp", "3", "--nnodes", "2"],
                                  ["--backend", "abacus"], ["--kv-mib", "x"]])
def test_bad_options_are_one_sentence(args):
    done = subprocess.run([WORKER, "--model", MODEL, "--router", "tcp://127.0.0.1:9", *args],
                          capture_output=True, text=True, timeout=60 * SLOW)
    said = [line for line in done.stderr.splitlines() if line.startswith("msgl-worker: ")]
    assert done.returncode == 2 and len(said) == 1, done.stderr


def test_ctrl_c_while_loading_leaves_nothing(tmp_path, router):
    process = start(str(tmp_path), [router])
    time.sleep(0.05)
    process.popen.send_signal(signal.SIGINT)
    assert wait_exit(process) is not None


@pytest.mark.real
def test_memory_beside_the_pool(router, tmp_path):
    """Weights are read where the file is mapped: with SmolLM2 all that lives beside the KV pool stays under 700 MB.
    The pool's pages count when they are touched, so the whole resident set is less than the pool and 700 MB."""
    pool_mib = 512
    process = start(str(tmp_path), [router], "--kv-mib", str(pool_mib))
    router.greet(60 * SLOW)
    idle = process.rss_mib()
    for call in range(2):
        router.generate(call, [(i * 37 + call) % 40000 for i in range(700)], 4)
    for call in range(2):
        router.collect(call, seconds=120 * SLOW)
    after = process.rss_mib()
    touched = 2 * 704 * 30 * 2 * 3 * 64 * 4 / 2 ** 20  # tokens x layers x (k, v) x heads x dim x f32
    print(f"idle {idle:.0f} MiB, after {after:.0f} MiB, of which pages {touched:.0f} MiB")
    assert process.stop() == 0, process.text()
    assert idle < 700e6 / 2 ** 20 and after - touched < 700e6 / 2 ** 20


def test_hello_names_the_model(router, worker):
    assert router.hello["m"] == os.path.basename(MODEL)
    assert router.hello["w"] == "w" and router.hello["ps"] == 16 and router.hello["cr"] == 320
    assert router.hello["lm"] <= 8192
