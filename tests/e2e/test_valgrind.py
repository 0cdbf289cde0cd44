"""200 calls under valgrind: nothing is lost for good, nothing is read that was not written."""
import json
import os
import shutil

import pytest
from conftest import MODEL, NAME

pytestmark = pytest.mark.valgrind


@pytest.fixture
def tiny(tmp_path):
    """SmolLM2's tokenizer with two narrow layers of random weights."""
    folder = tmp_path / NAME
    folder.mkdir()
    for name in ("generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(MODEL, name), folder)
    with open(os.path.join(MODEL, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    config.update(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
                  num_key_value_heads=1, head_dim=64, max_position_embeddings=512)
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def test_200_calls_leak_nothing(cluster, tiny):
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed")
    c = cluster(workers=1, model=tiny, worker_args=["--dummy-weights", "--kv-mib", "16"],
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
