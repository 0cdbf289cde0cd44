"""Model folders as router and worker meet them: by name from a hub, and broken ones."""
import json
import os
import shutil
import subprocess

import numpy
import pytest
from conftest import BUILD, REAL, SLOW, Process, free_port, tiny_model, wait_for
from hub_server import Hub
from test_cli import Serve
from test_hub import environment

ROUTER = os.path.join(BUILD, "msgl-router")
TEXT_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def safetensors(config):
    """A checkpoint of this Llama config as the bytes of one file: bf16, drawn from a fixed seed."""
    hidden, inner, heads = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    q, kv = heads * config["num_attention_heads"], heads * config["num_key_value_heads"]
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        shapes.update({layer + "input_layernorm.weight": (hidden,), layer + "post_attention_layernorm.weight": (hidden,),
                       layer + "self_attn.q_proj.weight": (q, hidden), layer + "self_attn.k_proj.weight": (kv, hidden),
                       layer + "self_attn.v_proj.weight": (kv, hidden), layer + "self_attn.o_proj.weight": (hidden, q),
                       layer + "mlp.gate_proj.weight": (inner, hidden), layer + "mlp.up_proj.weight": (inner, hidden),
                       layer + "mlp.down_proj.weight": (hidden, inner)})
    rng, header, data = numpy.random.default_rng(1), {}, b""
    for name, shape in shapes.items():
        values = rng.normal(1 if "norm" in name else 0, 0.1, shape).astype(numpy.float32)
        raw = (values.view(numpy.uint32) >> 16).astype(numpy.uint16).tobytes()
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    head = json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + data


@pytest.fixture
def hub(tmp_path):
    folder = tiny_model(tmp_path / "source")
    files = {}
    for name in TEXT_FILES:
        with open(os.path.join(folder, name), "rb") as f:
            files[name] = f.read()
    files["model.safetensors"] = safetensors(json.loads(files["config.json"]))
    with Hub({"acme/tiny": files}) as hub:
        yield hub


def complete(url, model):
    import requests
    reply = requests.post(url + "/v1/completions", timeout=60 * SLOW,
                          json={"model": model, "prompt": "one two", "max_tokens": 4, "temperature": 0, "ignore_eos": True})
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_serve_downloads_and_answers(hub, tmp_path, monkeypatch):
    """`msgl serve --model ORG/NAME` from nothing to an answer; a second start asks the hub for nothing."""
    for key, value in environment(hub, tmp_path / "hf").items():
        monkeypatch.setenv(key, value)
    answers = []
    for _ in range(2):
        serve = Serve(tmp_path, "--kv-mib", "16", model="acme/tiny")
        answers.append(complete(serve.url, "acme/tiny"))
        assert serve.stop() == 0
        asked, hub.requests = hub.requests, []
    assert answers[0]["usage"]["completion_tokens"] == 4
    assert answers[0]["choices"] == answers[1]["choices"]
    assert asked == []


def test_router_downloads_no_weights(hub, tmp_path):
    """Router and worker started by hand under one name of a hub find each other; only the worker fetches weights."""
    http, wire = free_port(), free_port()
    router = Process([ROUTER, "--model", "acme/tiny", "--port", str(http), "--admin-port", "0",
                      "--worker-endpoint", f"tcp://127.0.0.1:{wire}"], str(tmp_path / "router.log"), environment(hub, tmp_path / "a"))
    url = f"http://127.0.0.1:{http}"

    def ready(path):
        import requests
        assert router.alive(), router.text()
        try:
            return requests.get(url + path, timeout=2).status_code == 200
        except requests.RequestException:
            return False
    wait_for(lambda: ready("/health"), 20)
    assert hub.requests and not any("safetensors" in r[2] for r in hub.requests)
    worker = Process([os.path.join(BUILD, "msgl-worker"), "--model", "acme/tiny", "--kv-mib", "16", "--threads", "1",
                      "--router", f"tcp://127.0.0.1:{wire}"], str(tmp_path / "worker.log"), environment(hub, tmp_path / "b"))
    try:
        wait_for(lambda: ready("/ready"), 20)
        assert hub.gets("model.safetensors")
        assert complete(url, "acme/tiny")["model"] == "acme/tiny"
    finally:
        assert worker.stop() == 0 and router.stop() == 0


def broken(name, data):
    def change(folder):
        path = os.path.join(folder, name)
        if data is None:
            os.unlink(path)
        elif callable(data):
            with open(path, "rb") as f:
                old = f.read()
            with open(path, "wb") as f:
                f.write(data(old))
        else:
            with open(path, "wb") as f:
                f.write(data)
    return change


def with_template(template):
    return lambda old: json.dumps({**json.loads(old), "chat_template": template}).encode()


@pytest.mark.parametrize("change,words", [
    (broken("config.json", None), "config"), (broken("config.json", b""), ""), (broken("config.json", b"[]"), "config"),
    (broken("config.json", b'{"max_position_embeddings": -1}'), "max_position_embeddings"),
    (broken("tokenizer.json", None), "tokenizer"), (broken("tokenizer.json", lambda old: old[:len(old) // 2]), ""),
    (broken("tokenizer.json", b'{"model": {"type": "Unigram"}}'), ""), (broken("tokenizer.json", b"\xff" * 100), ""),
    (broken("tokenizer_config.json", b"{"), ""), (broken("tokenizer_config.json", with_template("{% if %}")), "template"),
    (broken("tokenizer_config.json", with_template("{% for x in y %}")), "template"),
    (broken("generation_config.json", b'{"temperature": "hot"}'), "temperature"),
    (broken("generation_config.json", b"[]"), "generation"),
    (broken("generation_config.json", b'{"repetition_penalty": -1}'), "repetition_penalty"),
], ids=range(14))
def test_a_broken_folder_is_one_sentence(tmp_path, change, words):
    folder = str(tmp_path / "broken")
    os.mkdir(folder)
    for name in TEXT_FILES:
        shutil.copy(os.path.join(REAL, name), folder)
    change(folder)
    done = subprocess.run([ROUTER, "--model", folder, "--port", "0", "--admin-port", "0", "--worker-endpoint", "tcp://127.0.0.1:*"],
                          capture_output=True, text=True, timeout=60 * SLOW)
    said = [line for line in done.stderr.splitlines() if line.startswith("msgl-router: ")]
    assert done.returncode == 2 and len(said) == 1, done.stderr
    assert words in said[0] and "broken" in said[0], said


def with_config(**fields):
    return broken("config.json", lambda old: json.dumps({**json.loads(old), **fields}).encode())


def narrow(folder, **fields):
    """A folder with SmolLM2's tokenizer and these keys in config.json, served with --dummy-weights."""
    path = tiny_model(folder)
    with_config(**fields)(path)
    return path


LONGROPE = dict(architectures=["Phi3ForCausalLM"], partial_rotary_factor=0.125, max_position_embeddings=256, original_max_position_embeddings=64,
                rope_scaling={"type": "longrope", "short_factor": [1, 1, 1, 1], "long_factor": [1, 2, 4, 8]})
GRANITE = dict(architectures=["GraniteForCausalLM"], embedding_multiplier=2, residual_multiplier=0.22, attention_multiplier=0.1, logits_scaling=2)


@pytest.mark.parametrize("fields", [LONGROPE, GRANITE], ids=["longrope", "granite"])
def test_ranks_answer_as_one(tmp_path, cluster, fields):
    """Through router and worker, across the border of the short factors, which no answer notices."""
    folder, answers = narrow(tmp_path / "model", **fields), []
    for tp in ("1", "2"):
        c = cluster(model=folder, worker_args=["--dummy-weights", "--tp", tp])
        body = {"model": c.name, "prompt": list(range(5, 55)), "max_tokens": 60, "temperature": 0, "ignore_eos": True, "return_token_ids": True}
        answers.append(c.post("/v1/completions", body).json()["choices"][0]["token_ids"])
    assert len(answers[0]) == 60 and answers[0] == answers[1]


def test_workers_hold_to_the_same_factors(tmp_path, cluster):
    """A stream must not go on with keys that were rotated otherwise (docs/decisions/0020)."""
    c = cluster(model=narrow(tmp_path / "model", **LONGROPE), worker_args=["--dummy-weights"])
    c.start_worker(1, ["--context-max", "128"])
    c.wait_ready(2)
    c.start_worker(2, ["--context-max", "64"])
    wait_for(lambda: "worker_refused worker=worker-2" in c.routers[0].text(), 20)
    assert "longrope factors that --context-max chooses" in c.routers[0].text()


def with_tokenizer(**fields):
    return broken("tokenizer.json", lambda old: json.dumps({**json.loads(old), **fields}).encode())


WORKER = os.path.join(BUILD, "msgl-worker")
UNKNOWN = [
    (WORKER, with_config(architectures=["GPT2LMHeadModel"]), "GPT2LMHeadModel"), (WORKER, with_config(hidden_act="gelu"), "gelu"),
    (WORKER, with_config(quantization_config={"quant_method": "awq"}), "quantized"), (WORKER, with_config(partial_rotary_factor=0.5), "partial_rotary_factor"),
    (WORKER, with_config(rope_scaling={"rope_type": "longrope", "factor": 4}), "longrope"), (WORKER, with_config(architectures=["GraniteMoeForCausalLM"]), "GraniteMoe"),
    (WORKER, with_config(architectures=["Phi3ForCausalLM"], rope_scaling={"type": "yarn", "factor": 4}), "yarn"),
    (WORKER, broken("pytorch_model.bin", b"PK"), "model.safetensors"), (WORKER, broken("model.safetensors", b"\x02" + b"\0" * 7 + b"{}"), "names no tensor"),
    (ROUTER, with_tokenizer(model={"type": "Unigram", "vocab": []}), "Unigram"), (ROUTER, with_tokenizer(model={"type": "WordPiece", "vocab": {}}), "WordPiece"),
    (ROUTER, with_tokenizer(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}), "Precompiled"),
    (ROUTER, with_tokenizer(pre_tokenizer={"type": "UnicodeScripts"}), "UnicodeScripts"), (ROUTER, with_tokenizer(decoder={"type": "CTC"}), "CTC"),
    (ROUTER, with_tokenizer(post_processor={"type": "Nonsense"}), "Nonsense"),
]


@pytest.mark.parametrize("program,change,word", UNKNOWN, ids=[f"{os.path.basename(p)}-{w}" for p, _, w in UNKNOWN])
def test_an_unknown_folder_is_one_sentence(tmp_path, program, change, word):
    """What we do not run is named, by the process that would have to run it."""
    folder = str(tmp_path / "unknown")
    os.mkdir(folder)
    for name in TEXT_FILES:
        shutil.copy(os.path.join(REAL, name), folder)
    change(folder)
    wire = ["--router", "tcp://127.0.0.1:9"] if program == WORKER else ["--port", "0", "--worker-endpoint", "tcp://127.0.0.1:*"]
    done = subprocess.run([program, "--model", folder, "--admin-port", "0", *wire], capture_output=True, text=True, timeout=60 * SLOW)
    said = [line for line in done.stderr.splitlines() if line.startswith(os.path.basename(program) + ": ")]
    assert done.returncode == 2 and len(said) == 1 and word in said[0], done.stderr
