"""The openai client through router and two workers."""
import json

import pytest
import requests
from conftest import NAME, parse_metrics

pytestmark = pytest.mark.sanitize
PARIS = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.mark.real
def test_chat_answers(shared):
    reply = shared.client().chat.completions.create(model=NAME, messages=PARIS, temperature=0, max_tokens=32)
    assert "Paris" in reply.choices[0].message.content
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.object == "chat.completion"
    assert reply.model == NAME
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert 30 < reply.usage.prompt_tokens < 60


@pytest.mark.real
def test_chat_streams_the_same(shared):
    whole = shared.client().chat.completions.create(model=NAME, messages=PARIS, temperature=0, max_tokens=32)
    chunks = list(shared.client().chat.completions.create(
        model=NAME, messages=PARIS, temperature=0, max_tokens=32, stream=True,
        stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert len([c for c in chunks if c.choices and c.choices[0].delta.content]) > 3, "it did not stream"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(c.object == "chat.completion.chunk" and c.id == chunks[0].id for c in chunks)


def test_stream_ends_with_done(shared):
    reply = shared.post("/v1/chat/completions", {"model": NAME, "messages": PARIS, "max_tokens": 4, "stream": True})
    assert reply.headers["Content-Type"].startswith("text/event-stream")
    events = [e for e in reply.text.split("\n\n") if e and not e.startswith(":")]
    assert events[-1] == "data: [DONE]"
    assert all(json.loads(e[6:]) for e in events[:-1])


@pytest.mark.real
def test_completions(shared):
    reply = shared.client().completions.create(model=NAME, prompt="The capital of France is", temperature=0)
    assert "Paris" in reply.choices[0].text
    assert reply.usage.completion_tokens == 16 and reply.choices[0].finish_reason == "length"
    assert reply.object == "text_completion"


def test_prompt_as_ids_and_list(shared):
    text = shared.complete("one two three", 8)
    assert shared.complete(["one two three"], 8)["choices"][0]["text"] == text["choices"][0]["text"]
    # ids of "one two three" come back when asked to continue them: equal prompts, equal usage
    ids = shared.post("/v1/completions", {"model": NAME, "prompt": [1, 2, 3, 4], "max_tokens": 2, "temperature": 0}).json()
    assert ids["usage"]["prompt_tokens"] == 4


def test_max_tokens_and_length(shared):
    reply = shared.complete("Count: one, two,", 5)
    assert reply["usage"]["completion_tokens"] == 5 and reply["choices"][0]["finish_reason"] == "length"
    chat = shared.post("/v1/chat/completions", {"model": NAME, "messages": PARIS, "max_completion_tokens": 3}).json()
    assert chat["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("stream", [False, True])
def test_stop_strings(shared, stream):
    base = shared.complete("Count to ten: 1, 2, 3,", 24)["choices"][0]["text"]
    stop = base[len(base) // 2:len(base) // 2 + 3]
    expected = base[:base.index(stop)]
    reply = shared.post("/v1/completions", {"model": NAME, "prompt": "Count to ten: 1, 2, 3,", "max_tokens": 24,
                                            "temperature": 0, "stop": [stop, "never-there"], "stream": stream})
    if stream:
        events = [json.loads(e[6:]) for e in reply.text.split("\n\n") if e.startswith("data: {")]
        text = "".join(e["choices"][0]["text"] for e in events if e["choices"])
        finish = [e["choices"][0]["finish_reason"] for e in events if e["choices"]][-1]
    else:
        text, finish = reply.json()["choices"][0]["text"], reply.json()["choices"][0]["finish_reason"]
    assert text == expected and finish == "stop"


def test_seed_repeats_and_differs(shared):
    def draw(seed):
        return shared.post("/v1/completions", {"model": NAME, "prompt": "Once upon a time", "max_tokens": 16,
                                               "temperature": 1.0, "seed": seed}).json()["choices"][0]["text"]
    assert draw(7) == draw(7)
    assert len({draw(seed) for seed in range(6)}) > 3


def test_top_k_one_is_greedy(shared):
    greedy = shared.complete("The sky is", 12)["choices"][0]["text"]
    drawn = shared.complete("The sky is", 12, temperature=1.3, top_k=1)["choices"][0]["text"]
    assert drawn == greedy


def test_cached_tokens_are_told(shared):
    prompt = "A fresh prompt about cached tokens, " * 8
    first = shared.complete(prompt, 1)["usage"]
    second = shared.complete(prompt, 1)["usage"]
    assert first["prompt_tokens_details"]["cached_tokens"] < 16
    assert second["prompt_tokens_details"]["cached_tokens"] >= first["prompt_tokens"] // 16 * 16 - 16


@pytest.mark.parametrize("stream", [False, True])
def test_choices_share_their_prompt(shared, stream):
    """It is computed once, so of a fresh one nothing was cached, of the same one again nearly all; each choice has a draw of its own."""
    def computed():
        return sum(v for (name, _), v in parse_metrics(requests.get(shared.admin() + "/metrics").text).items() if name == "msgl_router_prefilled_tokens_total")
    prompt = f"Choices that share their prompt, {'streamed' if stream else 'whole'}: " + "one two three four five. " * 60
    for cached in (False, True):
        before = computed()
        options = {"stream_options": {"include_usage": True}} if stream else {}
        reply = shared.client().completions.create(model=NAME, prompt=prompt, n=6, max_tokens=6, temperature=1, seed=5, stream=stream, **options)
        parts = list(reply) if stream else [reply]
        texts = ["".join(c.text for p in parts for c in p.choices if c.index == i) for i in range(6)]
        usage = parts[-1].usage
        assert len(set(texts)) > 3 and usage.completion_tokens == 36
        fresh = usage.prompt_tokens - usage.prompt_tokens_details.cached_tokens
        assert fresh <= 16 if cached else fresh > usage.prompt_tokens - 16, usage
        assert fresh <= computed() - before <= fresh + 6 * 16, (usage, before, computed())


def test_models_and_health(shared):
    models = shared.client().models.list().data
    assert [m.id for m in models] == [NAME]
    assert shared.client().models.retrieve(NAME).id == NAME
    assert requests.get(shared.url() + "/health").status_code == 200
    assert requests.get(shared.url() + "/ready").status_code == 200
    assert requests.get(shared.url() + "/metrics").status_code == 404
    metrics = requests.get(shared.admin() + "/metrics")
    assert metrics.status_code == 200 and "# TYPE msgl_router_workers gauge" in metrics.text


def test_content_parts(shared):
    plain = shared.client().chat.completions.create(model=NAME, messages=PARIS, temperature=0, max_tokens=8)
    parts = [{"role": "user", "content": [{"type": "text", "text": PARIS[0]["content"]}]}]
    assert shared.client().chat.completions.create(
        model=NAME, messages=parts, temperature=0, max_tokens=8).choices[0].message.content == \
        plain.choices[0].message.content

    def of(assistant):
        return shared.post("/tokenize", {"messages": [PARIS[0], {"role": "assistant", **assistant}, PARIS[0]]}).json()["tokens"]
    said = of({"content": "I will not."})  # what the model refused, in the two ways in which the API gives it back
    assert of({"content": None, "refusal": "I will not.", "annotations": []}) == said
    assert of({"content": [{"type": "refusal", "refusal": "I will not."}]}) == said != of({"content": None, "refusal": None})


def test_request_id_is_echoed(shared):
    reply = requests.post(shared.url() + "/v1/completions", headers={"X-Request-Id": "abc-123"},
                          json={"model": NAME, "prompt": "x", "max_tokens": 1})
    assert reply.headers["X-Request-Id"] == "abc-123"


def test_many_at_once(shared):
    """32 streams at once: each the same as alone."""
    from concurrent.futures import ThreadPoolExecutor
    prompts = [f"Number {i}: the" for i in range(32)]
    alone = [shared.complete(p, 8)["choices"][0]["text"] for p in prompts[:4]]
    with ThreadPoolExecutor(32) as pool:
        together = list(pool.map(lambda p: shared.complete(p, 8)["choices"][0]["text"], prompts))
    assert together[:4] == alone
