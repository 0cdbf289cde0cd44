"""A real worker among routers that say anything in any order: tests/e2e/frame_orders.py. MSGL_FRAMES_SEED repeats a run, MSGL_FRAMES_S sets
how long it takes."""
import os
import signal

import pytest

from conftest import BUILD, MODEL, SLOW, Process
from frame_orders import Play
from traffic import TABLE, Texts


def frames_run(tmp_path, seed, seconds):
    seed = int(os.environ.get("MSGL_FRAMES_SEED") or seed)
    seconds = float(os.environ.get("MSGL_FRAMES_S") or seconds)
    print(f"MSGL_FRAMES_SEED={seed} for {seconds:.0f} s")
    (tmp_path / "table.json").write_text(TABLE % 1000)
    play = Play(seed, Texts(MODEL).vocab, dead_s=3.0 * SLOW)
    argv = [os.path.join(BUILD, "msgl-worker"), "--model", MODEL, "--id", "fuzzed", "--engine", "sim", "--sim-table", str(tmp_path / "table.json"),
            "--kv-mib", "64", "--context-max", "600", "--max-running", "6", "--max-waiting", "12", "--router-dead-ms", str(int(3000 * SLOW))]
    for peer in play.peers:
        argv += ["--router", f"tcp://127.0.0.1:{peer.port}"]
    worker = Process(argv, str(tmp_path / "worker.log"))
    try:
        play.run(seconds)
        play.leave(lambda: worker.popen.send_signal(signal.SIGTERM))
        assert worker.popen.wait(30 * SLOW) == 0
    except AssertionError:
        print(f"after {play.events} events, the last of them: {' '.join(play.said)}")
        print(worker.text()[-3000:])
        raise
    finally:
        worker.stop()
    text = worker.text()
    assert "Sanitizer" not in text and "runtime error" not in text, text[-4000:]
    print(f"{play.events} events, {play.calls} calls")
    return play


@pytest.mark.sanitize
@pytest.mark.parametrize("seed", [1, 2])
def test_frame_orders(tmp_path, seed):
    assert frames_run(tmp_path, seed, 6).events > 50


@pytest.mark.long
@pytest.mark.sanitize
@pytest.mark.parametrize("seed", range(10, 20))
def test_frame_orders_of_a_minute(tmp_path, seed):
    frames_run(tmp_path, seed, 60)
