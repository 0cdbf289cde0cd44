"""/tokenize, /detokenize, /generate, /version, /openapi.json."""
import json

import pytest
import requests
from conftest import NAME

pytestmark = pytest.mark.sanitize
PROMPT = "The capital of France is"


def tokenize(shared, **body):
    reply = shared.post("/tokenize", body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_tokenize_and_back(shared):
    text = "Grüße, 世界! <|im_start|>"
    made = tokenize(shared, prompt=text, return_token_strs=True)
    assert made["count"] == len(made["tokens"]) == len(made["token_strs"]) and made["max_model_len"] > 1000
    back = shared.post("/detokenize", {"model": NAME, "tokens": made["tokens"]})
    assert back.json() == {"prompt": text}
    used = shared.complete(text, 1)["usage"]["prompt_tokens"]
    assert used == made["count"]


def test_tokenize_messages(shared):
    messages = [{"role": "user", "content": "Hi"}]
    made = tokenize(shared, messages=messages)
    reply = shared.post("/v1/chat/completions", {"messages": messages, "max_tokens": 1, "return_token_ids": True})
    assert reply.json()["prompt_token_ids"] == made["tokens"]
    assert len(tokenize(shared, messages=messages, add_generation_prompt=False)["tokens"]) < made["count"]


def test_tokenize_errors(shared):
    assert shared.post("/tokenize", {}).json()["error"]["param"] == "prompt"
    assert shared.post("/tokenize", {"prompt": 5}).status_code == 400
    assert shared.post("/detokenize", {"tokens": [10 ** 8]}).json()["error"]["param"] == "tokens"
    assert shared.post("/detokenize", {"tokens": []}).status_code == 400
    assert requests.get(shared.url() + "/tokenize").status_code == 405


def test_generate_as_sglang_has_it(shared):
    body = {"text": PROMPT, "sampling_params": {"temperature": 0, "max_new_tokens": 8}, "return_logprob": True,
            "top_logprobs_num": 2}
    one = shared.post("/generate", body).json()
    assert one["text"] == shared.complete(PROMPT, 8)["choices"][0]["text"]
    meta = one["meta_info"]
    assert meta["completion_tokens"] == len(one["output_ids"]) == 8
    assert meta["finish_reason"] == {"type": "length", "length": 8}
    assert [t[1] for t in meta["output_token_logprobs"]] == one["output_ids"]
    assert [t[0][1] for t in meta["output_top_logprobs"]] == one["output_ids"]
    ids = tokenize(shared, prompt=PROMPT)["tokens"]
    many = shared.post("/generate", {"input_ids": [ids, ids], "sampling_params": {"temperature": 0, "max_new_tokens": 8}})
    assert [m["text"] for m in many.json()] == [one["text"]] * 2
    events = shared.post("/generate", {**body, "stream": True}).text.split("\n\n")
    texts = [json.loads(e[6:])["text"] for e in events if e.startswith("data: {")]
    assert texts[-1] == one["text"] and all(b.startswith(a) for a, b in zip(texts, texts[1:])) and len(texts) > 4
    assert "data: [DONE]" in events


def test_generate_as_mini_sglang_has_it(shared):
    reply = shared.post("/generate", {"prompt": PROMPT, "max_tokens": 8, "ignore_eos": True, "temperature": 0})
    assert reply.headers["Content-Type"].startswith("text/event-stream")
    said = shared.complete(PROMPT, 8)["choices"][0]["text"]
    body = reply.text
    assert body.rstrip().endswith("data: [DONE]")
    assert body[:body.index("data: [DONE]")].replace("data: ", "").replace("\n", "") == said.replace("\n", "")


def test_generate_errors(shared):
    for body, param in (({"text": "x", "sampling_params": {"temperature": -1}}, "temperature"),
                        ({"text": "x", "sampling_params": 5}, "sampling_params"), ({}, "text"),
                        ({"text": "x", "image_data": "y"}, "image_data"), ({"input_ids": ["x", 1]}, "input_ids")):
        reply = shared.post("/generate", body)
        assert reply.status_code == 400 and reply.json()["error"]["param"] == param, reply.text


def test_version_and_document(shared):
    assert requests.get(shared.url() + "/version").json()["version"]
    document = requests.get(shared.url() + "/openapi.json").json()
    chat = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert chat["properties"]["temperature"]["maximum"] == 100 and chat["required"] == ["messages"]
    for path, methods in document["paths"].items():
        for method in methods:
            url = shared.url() + path.replace("{id}", NAME)
            reply = requests.request(method, url, json={} if method == "post" else None)
            assert str(reply.status_code) in methods[method]["responses"], (path, reply.status_code)
