"""Penalties, bias, log probabilities, token ids, echo: what comes back is checked against itself, since
log probabilities tell what every draw looked like."""
import json
import math

import pytest
import requests
from conftest import NAME, wait_for

PROMPT = "The quick brown fox jumps over the lazy dog. The quick brown fox jumps over the lazy dog. The quick"


def complete(shared, **fields):
    return shared.complete(fields.pop("prompt", PROMPT), fields.pop("tokens", 12), **fields)["choices"][0]


def chunks(reply):
    assert reply.status_code == 200, reply.text
    return [json.loads(e[6:]) for e in reply.text.split("\n\n") if e.startswith("data: {")]


def test_logprobs_of_completions(shared):
    choice = complete(shared, logprobs=3, return_token_ids=True)
    lp = choice["logprobs"]
    assert len(lp["tokens"]) == len(lp["token_logprobs"]) == len(lp["top_logprobs"]) == len(lp["text_offset"]) == 12
    assert len(choice["token_ids"]) == 12 and choice["prompt_token_ids"]
    assert "".join(lp["tokens"]) == choice["text"]
    for i, (chosen, tops) in enumerate(zip(lp["token_logprobs"], lp["top_logprobs"])):
        assert len(tops) == 3 and chosen == max(tops.values()) <= 0, "greedy takes the likeliest"
        assert sum(math.exp(v) for v in tops.values()) <= 1.0001
        assert choice["text"][lp["text_offset"][i]:].startswith(lp["tokens"][i])
    plain = complete(shared, return_tokens_as_token_ids=True, logprobs=0)
    assert plain["logprobs"]["tokens"] == [f"token_id:{i}" for i in choice["token_ids"]]
    assert [list(t) for t in plain["logprobs"]["top_logprobs"]] == [[t] for t in plain["logprobs"]["tokens"]]


@pytest.mark.sanitize
def test_logprobs_of_chat(shared):
    reply = shared.client().chat.completions.create(
        model=NAME, messages=[{"role": "user", "content": "What is the capital of France?"}], temperature=0,
        max_tokens=10, logprobs=True, top_logprobs=2)
    content = reply.choices[0].logprobs.content
    assert len(content) == reply.usage.completion_tokens
    for token in content:
        assert token.logprob == token.top_logprobs[0].logprob and len(token.top_logprobs) == 2
        assert token.top_logprobs[0].token == token.token
    said = b"".join(bytes(t.bytes) for t in content).decode()
    assert said.startswith(reply.choices[0].message.content)


@pytest.mark.sanitize
@pytest.mark.parametrize("stream", [False, True])
def test_echo_scores_the_prompt(shared, stream):
    """The log probability of a prompt's token is the one that it has when it is drawn."""
    drawn = complete(shared, logprobs=2, return_token_ids=True)
    ids = drawn["prompt_token_ids"] + drawn["token_ids"]
    body = {"model": NAME, "prompt": ids, "max_tokens": 0, "echo": True, "logprobs": 2, "stream": stream}
    for _ in range(2):  # the second time the pages are cached, and scored all the same
        reply = shared.post("/v1/completions", body)
        if stream:
            parts = [c["choices"][0] for c in chunks(reply) if c["choices"]]
            lp = {k: sum((p["logprobs"][k] for p in parts), []) for k in ("tokens", "token_logprobs", "top_logprobs")}
            text = "".join(p["text"] for p in parts)
        else:
            lp, text = reply.json()["choices"][0]["logprobs"], reply.json()["choices"][0]["text"]
            assert reply.json()["usage"]["completion_tokens"] == 0
        assert text == PROMPT + drawn["text"]
        assert len(lp["tokens"]) == len(ids) and lp["token_logprobs"][0] is None and lp["top_logprobs"][0] is None
        tail = lp["token_logprobs"][len(drawn["prompt_token_ids"]):]
        assert tail == pytest.approx(drawn["logprobs"]["token_logprobs"], abs=2e-3)
        assert all(v <= 0 for v in lp["token_logprobs"][1:])


def test_echo_with_logprobs_and_an_answer(shared):
    prompt = "one two three"
    reply = shared.complete(prompt, 3, echo=True, logprobs=1)
    lp = reply["choices"][0]["logprobs"]
    assert len(lp["tokens"]) == reply["usage"]["prompt_tokens"] + 3
    assert "".join(lp["tokens"]) == reply["choices"][0]["text"]


def test_streamed_logprobs_are_the_whole_ones(shared):
    whole = complete(shared, logprobs=1, return_token_ids=True)
    reply = shared.post("/v1/completions", {"model": NAME, "prompt": PROMPT, "max_tokens": 12, "temperature": 0,
                                            "logprobs": 1, "stream": True, "return_token_ids": True})
    parts = [c["choices"][0] for c in chunks(reply) if c["choices"]]
    for key in ("tokens", "token_logprobs", "text_offset"):
        assert sum((p["logprobs"][key] for p in parts), []) == whole["logprobs"][key]
    assert sum((p["token_ids"] for p in parts), []) == whole["token_ids"]
    assert parts[0]["prompt_token_ids"] == whole["prompt_token_ids"]


def test_bias_forces_and_forbids(shared):
    plain = complete(shared, return_token_ids=True)
    first = plain["token_ids"][0]
    without = complete(shared, logit_bias={str(first): -100}, return_token_ids=True)
    assert first not in without["token_ids"]
    forced = complete(shared, logit_bias={"1000": 100}, return_token_ids=True)
    assert forced["token_ids"] == [1000] * 12
    reply = shared.post("/v1/completions", {"model": NAME, "prompt": "x", "logit_bias": {"99999999": 1}})
    assert reply.status_code == 400 and reply.json()["error"]["param"] == "logit_bias"


@pytest.mark.sanitize
def test_penalties(shared):
    forced = {"logit_bias": {"1000": 100, "1001": 100}, "return_token_ids": True, "tokens": 24}
    first = complete(shared, **forced)["token_ids"][0]
    counted = complete(shared, **forced, frequency_penalty=2)["token_ids"]
    assert counted[0] == first and set(counted) == {1000, 1001}
    # each draw of one token costs it 2: the other one's turn comes when the gap is used up, again and again
    assert abs(counted[8:].count(1000) - counted[8:].count(1001)) <= 8
    plain = complete(shared, return_token_ids=True, tokens=24)
    repeated = complete(shared, return_token_ids=True, tokens=24, repetition_penalty=100.0)
    assert len(set(plain["token_ids"])) < 24, "it repeats itself"
    assert len(set(repeated["token_ids"])) == 24 and not set(repeated["token_ids"]) & set(plain["prompt_token_ids"])


@pytest.mark.real
def test_min_tokens_bans_the_end(shared):
    body = {"model": NAME, "messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0, "max_tokens": 80,
            "return_token_ids": True}
    plain = shared.post("/v1/chat/completions", body).json()
    count = plain["usage"]["completion_tokens"]
    assert plain["choices"][0]["finish_reason"] == "stop" and count < 40
    end = plain["choices"][0]["token_ids"][-1]
    longer = shared.post("/v1/chat/completions", {**body, "min_tokens": count + 5}).json()
    assert longer["usage"]["completion_tokens"] >= count + 5
    assert end not in longer["choices"][0]["token_ids"][:count + 5]


@pytest.mark.sanitize
def test_extras_do_not_touch_batch_mates(shared):
    from concurrent.futures import ThreadPoolExecutor
    kinds = [{}, {"presence_penalty": 1.5}, {"logit_bias": {"1000": 100}}, {"logprobs": 2}, {"repetition_penalty": 2.0},
             {"temperature": 0.9, "seed": 4, "frequency_penalty": 1.0}] * 4
    alone = [complete(shared, **k)["text"] for k in kinds[:6]]
    with ThreadPoolExecutor(24) as pool:
        together = list(pool.map(lambda k: complete(shared, **k)["text"], kinds))
    assert together == alone * 4


def test_truncated_prompt(shared):
    reply = shared.complete("a b c d e f g h", 1, truncate_prompt_tokens=3, return_token_ids=True)
    assert reply["usage"]["prompt_tokens"] == 3 and len(reply["choices"][0]["prompt_token_ids"]) == 3


def test_cors_by_option(cluster):
    c = cluster(workers=0, start=False, router_args=["--cors-origin", "https://page.example"])
    asked = requests.options(c.url() + "/v1/chat/completions")
    assert asked.status_code == 204 and "POST" in asked.headers["access-control-allow-methods"]
    got = requests.get(c.url() + "/v1/models")
    assert got.headers["access-control-allow-origin"] == "https://page.example"
    wait_for(lambda: requests.get(c.url() + "/health").status_code == 200, 5)
