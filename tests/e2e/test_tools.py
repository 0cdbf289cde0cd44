"""Calls of tools and thinking: parsed from scripted texts of each family, and forced through the grammar with a
real model that was never taught to call anything."""
import json
import os
import shutil

import pytest
import requests
from conftest import MODEL, NAME, TINY, tiny_model, wait_for
from scripted_worker import ScriptedWorker

WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "The weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "maxLength": 20}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
    "required": ["city", "days"]}}}
TIME = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}, "required": ["zone"]}}}
ASK = [{"role": "user", "content": "What is the weather in Paris?"}]


def chunks(reply):
    assert reply.status_code == 200, reply.text
    return [json.loads(e[6:]) for e in reply.text.split("\n\n") if e.startswith("data: {")]


def assemble(events):
    """A streamed message put together as clients do."""
    message = {"content": "", "reasoning_content": "", "tool_calls": []}
    for event in events:
        for choice in event["choices"]:
            delta = choice["delta"]
            message["content"] += delta.get("content") or ""
            message["reasoning_content"] += delta.get("reasoning_content") or ""
            for call in delta.get("tool_calls", []):
                if call["index"] == len(message["tool_calls"]):
                    assert call["id"] and call["type"] == "function" and call["function"]["name"]
                    message["tool_calls"].append({"id": call["id"], "name": call["function"]["name"], "arguments": ""})
                message["tool_calls"][call["index"]]["arguments"] += call["function"].get("arguments") or ""
            message["finish"] = choice["finish_reason"] or message.get("finish")
    return message


def weather(arguments):
    value = json.loads(arguments)
    assert set(value) == {"city", "days"} and isinstance(value["city"], str) and 1 <= value["days"] <= 7
    return value


@pytest.mark.sanitize
@pytest.mark.parametrize("stream", [False, True])
def test_named_and_required_calls(shared, stream):
    for choice, names in (({"type": "function", "function": {"name": "get_weather"}}, {"get_weather"}), ("required", {"get_weather", "get_time"})):
        body = {"model": NAME, "messages": ASK, "tools": [WEATHER, TIME], "tool_choice": choice, "temperature": 0.8, "seed": 3, "max_tokens": 300,
                "parallel_tool_calls": False, "stream": stream}
        reply = shared.post("/v1/chat/completions", body)
        if stream:
            message = assemble(chunks(reply))
            calls = [(c["name"], c["arguments"]) for c in message["tool_calls"]]
            finish = message["finish"]
        else:
            answer = reply.json()["choices"][0]
            assert answer["message"]["content"] is None
            calls = [(c["function"]["name"], c["function"]["arguments"]) for c in answer["message"]["tool_calls"]]
            finish = answer["finish_reason"]
        assert len(calls) == 1 and calls[0][0] in names
        if calls[0][0] == "get_weather":
            weather(calls[0][1])
        else:
            assert json.loads(calls[0][1])["zone"] in ("UTC", "CET")
        assert finish == ("tool_calls" if choice == "required" else "stop")


def test_allowed_tools(shared):
    """A choice among some of the tools: the others are neither shown nor called."""
    def ask(names, mode="required", **fields):
        allowed = {"mode": mode, "tools": [{"type": "function", "function": {"name": n}} for n in names]}
        return shared.post("/v1/chat/completions", {"model": NAME, "messages": ASK, "tools": [WEATHER, TIME], "temperature": 1, "max_tokens": 200,
                                                    "tool_choice": {"type": "allowed_tools", "allowed_tools": allowed}, **fields})
    for only in ("get_weather", "get_time"):
        called = {c["function"]["name"] for seed in range(3) for c in ask([only], seed=seed).json()["choices"][0]["message"]["tool_calls"]}
        assert called == {only}
    for reply in (ask(["get_weather", "nothing"]), ask([]), ask(["get_time"], "sometimes"), ask(["get_time"], tools=None), ask([None])):
        assert reply.status_code == 400 and reply.json()["error"]["param"] == "tool_choice", reply.text
    assert ask(["get_time"], "auto").json()["error"]["param"] == "tools", "this model's template shows no tools"


def test_openai_client_gets_a_call(shared):
    reply = shared.client().chat.completions.create(model=NAME, messages=ASK, tools=[WEATHER], temperature=0, max_tokens=200,
                                                    tool_choice={"type": "function", "function": {"name": "get_weather"}})
    call = reply.choices[0].message.tool_calls[0]
    assert call.id.startswith("call_") and call.function.name == "get_weather"
    weather(call.function.arguments)


@pytest.mark.sanitize
def test_tools_errors(shared):
    def bad(**fields):
        reply = shared.post("/v1/chat/completions", {"model": NAME, "messages": ASK, **fields})
        assert reply.status_code == 400, reply.text
        return reply.json()["error"]["param"]
    assert bad(tools=5) == "tools" and bad(tools=[{"type": "function"}]) == "tools"
    assert bad(tools=[{"type": "custom", "custom": {"name": "run"}}]) == "tools"
    assert bad(tool_choice="required") == "tool_choice"
    assert bad(tools=[WEATHER], tool_choice={"type": "function", "function": {"name": "nothing"}}) == "tool_choice"
    assert bad(tools=[WEATHER]) == "tools", "this model's template shows no tools"
    unsupported = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"not": {}}}}}}
    assert bad(tools=[unsupported], tool_choice="required") == "tool_choice"


TEMPLATE = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if tools %}MARK{{ tools | tojson }}{% endif %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\nTAIL{% endif %}")
SAYS = {
    "hermes": ("<tool_call>", 'I look.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", "days": 2}}\n</tool_call>\n<tool_call>\n'
                              '{"name": "get_time", "arguments": {"zone": "CET"}}\n</tool_call>', "I look."),
    "llama": ('{"name": function name, "parameters": dictionary', '{"name": "get_weather", "parameters": {"city": "Paris", "days": 2}}; '
                                                                  '{"name": "get_time", "parameters": {"zone": "CET"}}', None),
    "mistral": ("[AVAILABLE_TOOLS]", '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Paris", "days": 2}}, '
                                     '{"name": "get_time", "arguments": {"zone": "CET"}}]', None),
    "mistral-args": ("[AVAILABLE_TOOLS]", 'I look.[TOOL_CALLS]get_weather[ARGS]{"city": "Paris", "days": 2}[TOOL_CALLS]get_time[CALL_ID]a1b2c3d4e'
                                          '[ARGS]{"zone": "CET"}', "I look."),
}


# How the families' templates write a call that was made; Mistral's check its id.
CALLS = "{% for c in m.tool_calls %}{% if c.id | length != 9 %}{{ raise_exception('an id of 9') }}{% endif %}WRITTEN{% endfor %}"
NEWER = {
    "plain": "[TOOL_CALLS]{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}",
    "id": "[TOOL_CALLS]{{ c.function.name }}[CALL_ID]{{ c.id }}[ARGS]{{ c.function.arguments | tojson }}",
    "old": "[TOOL_CALLS] [{{ {'name': c.function.name, 'arguments': c.function.arguments} | tojson }}]",
    "refuses": "{{ raise_exception('no calls here') }}",
}
MARKS = ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]")


def add_tokens(folder, texts, special):
    with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as f:
        tokenizer = json.load(f)
    for i, token in enumerate(texts):
        tokenizer["added_tokens"].append({"id": 49152 + i, "content": token, "special": special, "single_word": False,
                                          "lstrip": False, "rstrip": False, "normalized": False})
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(tokenizer, f)


def family(tmp_path, mark, tail="", calls=None, model=MODEL):
    """The model's folder with another family's chat template."""
    folder = os.path.join(str(tmp_path), NAME)
    os.makedirs(folder)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(os.path.join(model, name), folder)
    with open(os.path.join(folder, "tokenizer_config.json"), encoding="utf-8") as f:
        config = json.load(f)
    config.pop("chat_template", None)
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)
    with open(os.path.join(folder, "chat_template.jinja"), "w", encoding="utf-8") as f:
        content = "{{ m.content }}"
        template = TEMPLATE.replace(content, content + CALLS.replace("WRITTEN", calls)) if calls else TEMPLATE
        f.write(template.replace("MARK", "{{ '" + mark + "' }}").replace("TAIL", tail))
    return folder


@pytest.mark.sanitize
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", sorted(SAYS))
def test_families(cluster, tmp_path, name, stream):
    mark, text, content = SAYS[name]
    folder = family(tmp_path, mark, calls=NEWER["id"] if name == "mistral-args" else None)
    if name == "mistral-args":
        add_tokens(folder, MARKS, True)
    c = cluster(workers=0, start=False, model=folder)
    assert f"tools={name} " in c.routers[0].text()
    ids = requests.post(c.url() + "/tokenize", json={"prompt": text}).json()["tokens"]
    worker = ScriptedWorker(c.wire(), folder, name="saying")
    worker.say(ids)
    try:
        wait_for(lambda: worker.welcomed, 10)
        reply = c.post("/v1/chat/completions", {"messages": ASK, "tools": [WEATHER, TIME], "stream": stream, "max_tokens": 500})
        if stream:
            message = assemble(chunks(reply))
            calls = [(x["name"], x["arguments"]) for x in message["tool_calls"]]
            deltas = sum(1 for e in chunks(reply) if e["choices"] and e["choices"][0]["delta"].get("tool_calls"))
            assert deltas > 6, "arguments did not stream"
            assert message["content"] == (content or "") and message["finish"] == "tool_calls"
        else:
            answer = reply.json()["choices"][0]
            calls = [(x["function"]["name"], x["function"]["arguments"]) for x in answer["message"]["tool_calls"]]
            assert answer["message"]["content"] == content and answer["finish_reason"] == "tool_calls"
            assert len({x["id"] for x in answer["message"]["tool_calls"]}) == 2
            told = [{"role": "tool", "tool_call_id": x["id"], "content": "17"} for x in answer["message"]["tool_calls"]]
            again = c.post("/v1/chat/completions", {"messages": ASK + [answer["message"]] + told, "tools": [WEATHER, TIME], "max_tokens": 500})
            assert again.status_code == 200, "the message with its calls goes back to the template: " + again.text
        assert calls == [("get_weather", '{"city": "Paris", "days": 2}'), ("get_time", '{"zone": "CET"}')]
        one = c.post("/v1/chat/completions", {"messages": ASK, "tools": [WEATHER, TIME], "parallel_tool_calls": False, "max_tokens": 500}).json()
        assert len(one["choices"][0]["message"]["tool_calls"]) == 1
        off = c.post("/v1/chat/completions", {"messages": ASK, "tools": [WEATHER], "tool_choice": "none", "max_tokens": 500}).json()
        assert "tool_calls" not in off["choices"][0]["message"] and "get_weather" in off["choices"][0]["message"]["content"]
        some = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "get_weather"}}]}}
        prompts = [c.post("/v1/chat/completions", {"messages": ASK, "tools": tools, "tool_choice": choice, "max_tokens": 500}).json()["usage"]["prompt_tokens"]
                   for tools, choice in (([WEATHER, TIME], some), ([WEATHER], "auto"), ([WEATHER, TIME], "auto"))]
        assert prompts[0] == prompts[1] < prompts[2], "the template sees what is allowed"
    finally:
        worker.stop()


@pytest.mark.parametrize("writes, knows_args, form", [("plain", False, "mistral-args"), ("old", True, "mistral"), ("refuses", False, "mistral"),
                                                      ("refuses", True, "mistral-args"), (None, True, "mistral-args")])
def test_mistrals_form_is_found(cluster, tmp_path, writes, knows_args, form):
    folder = family(tmp_path, "[AVAILABLE_TOOLS]", calls=NEWER.get(writes))
    if knows_args:
        add_tokens(folder, MARKS, True)
    c = cluster(workers=0, start=False, model=folder)
    assert f"tools={form} " in c.routers[0].text()


@pytest.mark.sanitize
@pytest.mark.parametrize("stream", [False, True])
def test_mistrals_newer_form_is_forced(cluster, tmp_path, stream):
    folder = family(tmp_path, "[AVAILABLE_TOOLS]", calls=NEWER["plain"], model=tiny_model(tmp_path / "narrow"))
    c = cluster(model=folder, worker_args=[] if TINY else ["--dummy-weights"])
    named = {"type": "function", "function": {"name": "get_time"}}
    several = False
    for choice, parallel, seeds in ((named, True, 2), ("required", False, 2), ("required", True, 5)):
        for seed in range(seeds):
            reply = c.post("/v1/chat/completions", {"messages": ASK, "tools": [WEATHER, TIME], "tool_choice": choice, "parallel_tool_calls": parallel,
                                                    "seed": seed, "max_tokens": 150, "stream": stream, "logprobs": True})
            if stream:
                message = assemble(chunks(reply))
                calls = [(x["name"], x["arguments"]) for x in message["tool_calls"]]
                parts = [p for e in chunks(reply) for x in e["choices"] for p in (x.get("logprobs") or {}).get("content", [])]
                content, finish = message["content"], message["finish"]
            else:
                answer = reply.json()["choices"][0]
                calls = [(x["function"]["name"], x["function"]["arguments"]) for x in answer["message"]["tool_calls"]]
                parts, content, finish = answer["logprobs"]["content"], answer["message"]["content"], answer["finish_reason"]
            text = bytes(b for p in parts for b in p["bytes"] or []).decode("utf-8", "replace")
            assert text.startswith(f"{calls[0][0]}[ARGS]" + "{"), text
            several |= len(calls) > 1
            if finish == "length":
                continue
            assert not content and finish == ("stop" if choice == named else "tool_calls")
            assert len(calls) == 1 or parallel and choice == "required"
            for name, arguments in calls:
                if name == "get_weather" and choice != named:
                    weather(arguments)
                else:
                    assert name == "get_time" and json.loads(arguments)["zone"] in ("UTC", "CET")
    assert several
    odd = {"type": "function", "function": {"name": "a [name]", "parameters": {"type": "object", "properties": {}}}}
    reply = c.post("/v1/chat/completions", {"messages": ASK, "tools": [odd], "tool_choice": "required"})
    assert reply.status_code == 400 and "tools[0]" in reply.json()["error"]["message"]


def saying(c, folder, text, also=()):
    """A worker that answers everything with this text (and these ids in front)."""
    ids = list(also) + requests.post(c.url() + "/tokenize", json={"prompt": text, "add_special_tokens": False}).json()["tokens"]
    worker = ScriptedWorker(c.wire(), folder, name="saying", ft=7)
    worker.say(ids)
    wait_for(lambda: worker.welcomed, 10)
    return worker


THOUGHT = "Let me see: <tool_call> is for the weather in Paris, and the time."
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris <think>", "days": 2}}\n</tool_call>\n'


@pytest.mark.sanitize
@pytest.mark.parametrize("special", [False, True])
def test_thinking_goes_before_calls(cluster, tmp_path, special):
    """The prompt opens the thinking; the marks are special tokens, as some files have them, or not."""
    folder = family(tmp_path, "<tool_call>", tail="<think>\n")
    add_tokens(folder, ("<think>", "</think>", "<tool_call>", "</tool_call>"), special)
    c = cluster(workers=0, start=False, model=folder)
    worker = saying(c, folder, THOUGHT + "\n</think>\n\nI look." + CALL * 2, also=[1])  # 1: a special token that nobody wants to see
    body = {"messages": ASK, "tools": [WEATHER, TIME], "max_tokens": 500}
    try:
        reply = c.post("/v1/chat/completions", {**body, "stream": True})
        events = chunks(reply)
        deltas = [e["choices"][0]["delta"] for e in events if e["choices"]]
        order = [kind for d in deltas for kind in ("reasoning_content", "content", "tool_calls") if d.get(kind)]
        assert order == sorted(order, key=("reasoning_content", "content", "tool_calls").index) and order.count("reasoning_content") > 5
        message = assemble(events)
        assert message["reasoning_content"] == THOUGHT
        assert message["content"] == "I look." and message["finish"] == "tool_calls" and len(message["tool_calls"]) == 2
        seen = set()
        for call in (call for d in deltas for call in d.get("tool_calls", [])):
            if call["index"] not in seen:
                assert set(call) == {"index", "id", "type", "function"} and set(call["function"]) == {"name", "arguments"}
            else:
                assert set(call) == {"index", "function"} and set(call["function"]) == {"arguments"} and call["function"]["arguments"]
            assert seen <= {0, 1} and call["index"] in (len(seen), len(seen) - 1)
            seen.add(call["index"])
        finishes = [e["choices"][0]["finish_reason"] for e in events if e["choices"]]
        assert set(finishes[:-1]) == {None} and finishes[-1] == "tool_calls"
        for hide in ({"include_reasoning": False}, {"separate_reasoning": False}):
            for stream in (False, True):
                text = c.post("/v1/chat/completions", {**body, **hide, "stream": stream}).text
                assert "reasoning_content" not in text and "tool_calls" in text, text
        for also in ({"bad_words": ["xyzzy"]}, {"stop": ["never said"]}, {"n": 2}):
            answers = c.post("/v1/chat/completions", {**body, **also}).json()["choices"]
            assert {a["message"]["reasoning_content"] for a in answers} == {THOUGHT}
            assert len({x["id"] for a in answers for x in a["message"]["tool_calls"]}) == 2 * len(answers)
    finally:
        worker.stop()


@pytest.mark.sanitize
@pytest.mark.parametrize("name", sorted(SAYS))
def test_what_is_no_call_stays_text(cluster, tmp_path, name):
    folder = family(tmp_path, SAYS[name][0], calls=NEWER["id"] if name == "mistral-args" else None)
    if name == "mistral-args":
        add_tokens(folder, MARKS, True)
    c = cluster(workers=0, start=False, model=folder)
    mark = {"hermes": "<tool_call>", "llama": "<|python_tag|>"}.get(name, "[TOOL_CALLS]")
    for text in (f"Write {mark} and then {{\"name\": 5}}.", f"{mark}{{\"name\": 7, \"arguments\": {{}}}}", f"{mark}", f"One {mark[:-1]}"):
        worker = saying(c, folder, text)
        try:
            reply = c.post("/v1/chat/completions", {"messages": ASK, "tools": [WEATHER], "stream": True, "max_tokens": 500})
            message = assemble(chunks(reply))
            assert message["content"] == text and message["finish"] == "stop" and not message["tool_calls"], (text, message)
        finally:
            worker.stop()
        wait_for(lambda: c.metric("msgl_router_workers") == 0, 20)


@pytest.mark.sanitize
def test_a_bound_answer_is_no_call(cluster, tmp_path):
    """With response_format an answer may look like a call of llama's, and is what was asked for."""
    folder = family(tmp_path, SAYS["llama"][0])
    c = cluster(workers=0, start=False, model=folder)
    text = '{"name": "Bob", "parameters": {"age": 7}}'
    worker = saying(c, folder, text)
    try:
        body = {"messages": ASK, "tools": [WEATHER], "max_tokens": 500}
        assert c.post("/v1/chat/completions", body).json()["choices"][0]["finish_reason"] == "tool_calls"
        answer = c.post("/v1/chat/completions", {**body, "response_format": {"type": "json_object"}}).json()["choices"][0]
        assert answer["message"]["content"] == text and "tool_calls" not in answer["message"] and answer["finish_reason"] == "stop"
    finally:
        worker.stop()


@pytest.mark.sanitize
@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_is_cut_says_so(shared, stream):
    """And no part of its marks is taken for text, wherever it is cut."""
    for most in (*range(1, 8), 14):
        body = {"model": NAME, "messages": ASK, "tools": [WEATHER], "tool_choice": "required", "temperature": 0, "max_tokens": most, "stream": stream}
        reply = shared.post("/v1/chat/completions", body)
        if stream:
            message = assemble(chunks(reply))
            calls, finish, text = [x["name"] for x in message["tool_calls"]], message["finish"], message["content"]
        else:
            answer = reply.json()["choices"][0]
            calls, finish, text = [x["function"]["name"] for x in answer["message"].get("tool_calls", [])], answer["finish_reason"], answer["message"]["content"]
        assert finish == "length" and calls in ([], ["get_weather"]) and not text, (most, text)


@pytest.mark.sanitize
@pytest.mark.parametrize("stream", [False, True])
def test_thinking(cluster, tmp_path, stream):
    folder = family(tmp_path, "<tool_call>")
    add_tokens(folder, ("<think>", "</think>"), False)
    c = cluster(workers=0, start=False, model=folder)
    text = "<think>\nLet me see: 2 + 2.\n</think>\n\nIt is 4."
    ids = requests.post(c.url() + "/tokenize", json={"prompt": text}).json()["tokens"]
    assert 49152 in ids
    worker = ScriptedWorker(c.wire(), folder, name="saying")
    worker.say(ids)
    try:
        wait_for(lambda: worker.welcomed, 10)

        def ask(**fields):
            reply = c.post("/v1/chat/completions", {"messages": ASK, "max_tokens": 500, "stream": stream, **fields})
            if stream:
                return assemble(chunks(reply))
            return reply.json()["choices"][0]["message"]
        message = ask()
        assert message["content"] == "It is 4." and message["reasoning_content"] == "Let me see: 2 + 2."
        assert ask(separate_reasoning=False)["content"] == text
        hidden = ask(include_reasoning=False)
        assert hidden["content"] == "It is 4." and not hidden.get("reasoning_content")
    finally:
        worker.stop()
