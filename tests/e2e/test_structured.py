"""Answers that must look like something: JSON, a schema, an expression, a choice."""
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import NAME, wait_for

PERSON = {"type": "object", "properties": {
    "name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0, "maximum": 120},
    "colour": {"enum": ["red", "green", "blue"]}, "tags": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 3}},
    "required": ["name", "age", "colour"], "additionalProperties": False}
ASK = [{"role": "user", "content": "Tell me about a person called Jo as JSON."}]


def person(text):
    value = json.loads(text)
    assert set(value) <= set(PERSON["properties"]) and {"name", "age", "colour"} <= set(value), text
    assert isinstance(value["name"], str) and len(value["name"]) <= 20
    assert type(value["age"]) is int and 0 <= value["age"] <= 120 and value["colour"] in ("red", "green", "blue")
    assert all(isinstance(t, str) and len(t) <= 8 for t in value.get("tags", [])) and len(value.get("tags", [])) <= 3
    return value


def chat(shared, **fields):
    reply = shared.post("/v1/chat/completions", {"model": NAME, "messages": ASK, "max_tokens": 400, "temperature": 0, **fields})
    assert reply.status_code == 200, reply.text
    return reply.json()["choices"][0]


def schema_format(schema):
    return {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": schema}}


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_schema(shared, temperature):
    for seed in range(4):
        choice = chat(shared, response_format=schema_format(PERSON), temperature=temperature, seed=seed)
        assert choice["finish_reason"] == "stop"
        person(choice["message"]["content"])


def test_schema_streamed_is_the_whole(shared):
    whole = chat(shared, response_format=schema_format(PERSON))["message"]["content"]
    reply = shared.post("/v1/chat/completions", {"model": NAME, "messages": ASK, "max_tokens": 400, "temperature": 0, "stream": True,
                                                 "response_format": schema_format(PERSON)})
    events = [json.loads(e[6:]) for e in reply.text.split("\n\n") if e.startswith("data: {")]
    assert "".join(e["choices"][0]["delta"].get("content") or "" for e in events if e["choices"]) == whole
    person(whole)


def test_json_object(shared):
    choice = chat(shared, response_format={"type": "json_object"}, temperature=1.0, seed=3, max_tokens=600)
    if choice["finish_reason"] == "stop":
        assert isinstance(json.loads(choice["message"]["content"]), dict)
    assert choice["message"]["content"].startswith("{")


def test_expression_and_choice(shared):
    for fields, pattern in (({"guided_regex": "\\d{3}-\\d{4}"}, r"\d{3}-\d{4}"), ({"regex": "(ja|nein)!{2}"}, "(ja|nein)!!"),
                            ({"guided_choice": ["positive", "negative"]}, "positive|negative"),
                            ({"structured_outputs": {"choice": ["größer", "kleiner"]}}, "größer|kleiner"),
                            ({"structured_outputs": {"json": {"type": "integer", "minimum": 10, "maximum": 99}}}, r"\d\d"),
                            ({"guided_json": json.dumps({"type": "boolean"})}, "true|false")):
        for temperature in (0, 2.0):
            choice = chat(shared, **fields, temperature=temperature)
            assert re.fullmatch(pattern, choice["message"]["content"]) and choice["finish_reason"] == "stop", (fields, choice)
    native = shared.post("/generate", {"text": "Give a number:", "sampling_params": {"regex": "[0-9]{4}", "max_new_tokens": 20}})
    assert re.fullmatch("[0-9]{4}", native.json()["text"])


@pytest.mark.sanitize
def test_grammars_and_free_answers_share_batches(shared):
    kinds = [{"response_format": schema_format(PERSON)}, {"max_tokens": 24}, {"guided_choice": ["yes", "no"]}, {"max_tokens": 24, "logprobs": True},
             {"guided_regex": "[a-z]{10}", "presence_penalty": 0.5}] * 4
    alone = [chat(shared, **k)["message"]["content"] for k in kinds[:5]]
    with ThreadPoolExecutor(20) as pool:
        together = list(pool.map(lambda k: chat(shared, **k)["message"]["content"], kinds))
    assert together == alone * 4


@pytest.mark.sanitize
def test_refusals_name_the_keyword(shared):
    for fields, word in (({"response_format": schema_format({"not": {}})}, "not"), ({"guided_regex": "(?=x)"}, "look-around"),
                         ({"guided_choice": [1]}, "choice"), ({"guided_grammar": "root ::= x"}, "guided_grammar")):
        reply = shared.post("/v1/chat/completions", {"model": NAME, "messages": ASK, **fields})
        assert reply.status_code == 400 and word in reply.json()["error"]["message"], reply.text
        assert reply.json()["error"]["param"] == list(fields)[0]


@pytest.mark.sanitize
def test_a_grammar_survives_its_worker(cluster):
    c = cluster(workers=2)
    body = {"model": c.name, "messages": ASK, "temperature": 0.7, "seed": 5, "max_tokens": 300,
            "response_format": schema_format({"type": "object", "properties": {f"key_number_{i}": {"type": "integer"} for i in range(12)},
                                              "required": [f"key_number_{i}" for i in range(12)]})}
    want = c.post("/v1/chat/completions", body).json()["choices"][0]["message"]["content"]
    assert len(json.loads(want)) == 12
    got = []
    thread = threading.Thread(target=lambda: got.append(c.post("/v1/chat/completions", body).json()))
    thread.start()
    wait_for(lambda: c.metric("msgl_router_generated_tokens_total") > 120, 30)
    busy = [i for i in range(2) if any(f'worker="worker-{i}"' in label and value > 0 for (name, label), value in c.metrics().items()
                                       if name == "msgl_worker_running")]
    time.sleep(0.1)
    c.workers[busy[0] if busy else 0].kill()
    thread.join(60)
    assert got and got[0]["choices"][0]["message"]["content"] == want
