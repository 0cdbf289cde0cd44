"""200 calls under valgrind: nothing is lost for good, nothing is read that was not written."""
import shutil

import pytest
from conftest import NAME, tiny_model

pytestmark = pytest.mark.valgrind


def test_200_calls_leak_nothing(cluster, tmp_path):
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed")
    c = cluster(workers=1, model=tiny_model(tmp_path / "model"), worker_args=["--dummy-weights", "--kv-mib", "16"],
                wrap=["valgrind", "-q", "--fair-sched=yes", "--leak-check=full", "--errors-for-leak-kinds=definite", "--show-leak-kinds=definite",
                      "--error-exitcode=99", "--num-callers=24"])
    for i in range(200):
        body = {"model": NAME, "prompt": f"call {i % 50}", "max_tokens": 2 + i % 3, "stream": i % 2 == 0,
                "temperature": (i % 3) * 0.5, "stop": ["zzz"] if i % 5 == 0 else None}
        if i % 20 == 7:
            body["top_p"] = 7  # refused
        if i % 20 == 9:
            body = {"model": NAME, "messages": [{"role": "user", "content": f"hello {i}"}], "max_tokens": 3}
        reply = c.post("/v1/chat/completions" if "messages" in body else "/v1/completions", body)
        assert reply.status_code == (400 if body.get("top_p") else 200), reply.text
    # close() checks that both processes end with 0, which valgrind's findings would turn into 99
