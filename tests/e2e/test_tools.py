"""Calls of tools and thinking: parsed from scripted texts of each family, and forced through the grammar with a
real model that was never taught to call anything."""
import json
import os
import shutil

import pytest
import requests
from conftest import MODEL, NAME, wait_for
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
}


def family(tmp_path, mark, tail=""):
    """The model's folder with another family's chat template."""
    folder = os.path.join(str(tmp_path), NAME)
    os.makedirs(folder)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(os.path.join(MODEL, name), folder)
    with open(os.path.join(folder, "tokenizer_config.json"), encoding="utf-8") as f:
        config = json.load(f)
    config.pop("chat_template", None)
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)
    with open(os.path.join(folder, "chat_template.jinja"), "w", encoding="utf-8") as f:
        f.write(TEMPLATE.replace("MARK", "{{ '" + mark + "' }}").replace("TAIL", tail))
    return folder


@pytest.mark.sanitize
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", sorted(SAYS))
def test_families(cluster, tmp_path, name, stream):
    mark, text, content = SAYS[name]
    folder = family(tmp_path, mark)
    c = cluster(workers=0, start=False, model=folder)
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
        assert calls == [("get_weather", '{"city": "Paris", "days": 2}'), ("get_time", '{"zone": "CET"}')]
        one = c.post("/v1/chat/completions", {"messages": ASK, "tools": [WEATHER, TIME], "parallel_tool_calls": False, "max_tokens": 500}).json()
        assert len(one["choices"][0]["message"]["tool_calls"]) == 1
        off = c.post("/v1/chat/completions", {"messages": ASK, "tools": [WEATHER], "tool_choice": "none", "max_tokens": 500}).json()
        assert "tool_calls" not in off["choices"][0]["message"] and "get_weather" in off["choices"][0]["message"]["content"]
    finally:
        worker.stop()


@pytest.mark.sanitize
@pytest.mark.parametrize("stream", [False, True])
def test_thinking(cluster, tmp_path, stream):
    folder = family(tmp_path, "<tool_call>")
    with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as f:
        tokenizer = json.load(f)
    for i, token in enumerate(("<think>", "</think>")):
        tokenizer["added_tokens"].append({"id": 49152 + i, "content": token, "special": False, "single_word": False,
                                          "lstrip": False, "rstrip": False, "normalized": False})
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(tokenizer, f)
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
