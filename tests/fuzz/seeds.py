#!/usr/bin/env python3
"""Writes the inputs that fuzzing starts from, one folder a target: tests/fuzz/seeds.py FOLDER.

They are our own: golden vectors, and short texts in the shape that tests/fuzz/NAME.c wants. What the
fuzzer made of them lies in tests/fuzz/corpus (tests/fuzz/minimise puts both together)."""
import json
import os
import re
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "golden")


def text_of(*parts):
    return b"\0".join(p.encode() if isinstance(p, str) else p for p in parts)


def dump(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


# ---- the wire

def pack(value):
    """msgpack, as much of it as frames need; a tuple of ints is a bin of u32, a list of ints of u64."""
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return bytes([value]) if 0 <= value < 128 else b"\xd3" + struct.pack(">q", value) if value < 0 else b"\xcf" + struct.pack(">Q", value)
    if isinstance(value, float):
        return b"\xca" + struct.pack(">f", value)
    if isinstance(value, str):
        raw = value.encode()
        return bytes([0xa0 | len(raw)]) + raw if len(raw) < 32 else b"\xda" + struct.pack(">H", len(raw)) + raw
    if isinstance(value, tuple):
        value = struct.pack(f"<{len(value)}I", *value)
    if isinstance(value, list) and value and isinstance(value[0], int):
        value = struct.pack(f"<{len(value)}Q", *value)
    if isinstance(value, bytes):
        return b"\xc5" + struct.pack(">H", len(value)) + value
    if isinstance(value, list):
        return bytes([0x90 | len(value)]) + b"".join(map(pack, value))
    return bytes([0x80 | len(value)] if len(value) < 16 else b"\xde" + struct.pack(">H", len(value))) + \
        b"".join(pack(k) + pack(v) for k, v in value.items())


def automaton():
    """Lists within lists: state 0 takes "[" and calls itself, or "]" ends."""
    classes = bytearray(256)
    classes[ord("[")], classes[ord("]")], classes[ord("t")] = 1, 2, 3
    table = [[0xffff, 1, 0xffff, 0xffff], [0xffff, 0x8000, 2, 1], [0xffff] * 4]
    return struct.pack("<5I", 0x3161676D, 3, 4, 1, 0) + bytes(classes) + bytes([0, 0, 1]) + b"\0" + \
        struct.pack("<2I", 0, 1) + b"".join(struct.pack("<4H", *row) for row in table)


FRAMES = {
    "hello": {"t": 1, "v": 1, "w": "worker-0", "e": 5, "s": 1, "m": "toy", "fp": 7, "th": 8, "wh": 9, "ps": 16, "lm": 1000,
              "pg": 100, "tp": 1, "cr": 4, "ft": 7},
    "welcome": {"t": 2, "v": 1, "r": "router-0", "e": 6, "s": 1, "q": True},
    "generate": {"t": 3, "e": 6, "c": 1, "i": 1, "a": 2, "k": (1, 2, 3), "np": 2, "mx": 9, "mn": 1, "st": (2,), "ie": True,
                 "te": 0.5, "tp": 0.9, "tk": 5, "mp": 0.1, "sd": 77, "pp": 0.5, "fq": 0.5, "rp": 1.5, "ns": 3, "pr": -1,
                 "dl": 1000, "lp": 3, "sf": 1, "lb": struct.pack("<If", 5, 1.0), "am": automaton(), "ri": "req-1",
                 "tr": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "zz": [{"a": []}]},
    "cancel": {"t": 4, "e": 6, "c": 1, "a": 2},
    "tokens": {"t": 5, "e": 6, "s": 9, "n": [
        {"c": 1, "a": 2, "f": 0, "k": (7, 8), "h": 1, "l": struct.pack("<2f", -1, -2), "ti": (7, 9), "tl": struct.pack("<2f", -1, -3),
         "sf": 1, "sl": struct.pack("<f", -1), "si": (3,), "st": struct.pack("<f", -1)},
        {"c": 2, "i": 1, "a": 0, "f": 3, "z": 1}]},
    "error": {"t": 6, "e": 6, "c": 1, "a": 2, "z": 6, "x": "full"},
    "cache": {"t": 7, "e": 5, "s": 1, "n": [{"p": 1, "h": [10, 11, 12]}, {"h": [12], "d": True}]},
    "snapshot": {"t": 8, "p": 0, "pc": 1, "e": 5, "s": 7, "n": [{"p": 1, "h": [10, 11]}]},
    "ask": {"t": 8, "q": True},
    "load": {"t": 9, "e": 5, "s": 9, "g": 2, "r": 1, "w": 1, "pf": 10, "dt": 20, "fr": 50, "cr": 3, "sb": 30, "d": True, "rt": 1},
    "drain": {"t": 10, "d": True},
    "bye": {"t": 11, "x": "the router stops"},
}


def step_packet():
    """Two rows, three tokens, one of everything else (worker/sched/batch.h)."""
    parts = [struct.pack("<8I", 0, 0, 1, 3, 1, 1, 2, 0),            # rows
             struct.pack("<3I", 0xffffffff, 5, 6),                  # tokens
             struct.pack("<3I", 1, 0, 4),                           # deltas
             struct.pack("<6I", 0, 4, 1, 0, 0, 0) + struct.pack("<fffIQIfff", 1, 1, 0, 0, 7, 0, 0, 0, 1),
             struct.pack("<3I", 1, 6, 1),                           # scores
             struct.pack("<3I", 0, 2, 1),                           # groups
             struct.pack("<11I", 0, 2, 0, 2, 2, 1, 0, 0, 0, 0, 0),  # setups
             struct.pack("<3I", 1, 2, 3)]                           # words
    head_bytes = 8 + 4 * 18
    body, offsets = b"", []
    for part in parts:
        body += bytes(-(head_bytes + len(body)) % 16)
        offsets.append(head_bytes + len(body))
        body += part
    body += bytes(-(head_bytes + len(body)) % 16)
    counts = [2, 3, 1, 1, 1, 1, 1, 3]  # rows, tokens, deltas, samples, groups, scores, setups, words
    return struct.pack("<Q", 3) + struct.pack("<18I", head_bytes + len(body), *counts, *offsets, 0) + body


def rank_messages():
    kinds = ["join", "start", "ready", "step", "beat", "failed", "stop", "left", "grammar", "drop"]
    bodies = {"start": b"/msgl-comm", "step": step_packet(), "failed": b"out of memory", "grammar": automaton()}
    for number, kind in enumerate(kinds, 1):
        yield kind, struct.pack("<4sHHIIQQ", b"MSRK", 1, number, 2, 0, 99, 5) + bodies.get(kind, b"")


# ---- text

ANSWERS = [
    (1, 1, "<think>\nhm, hm\n</think>\n\nYes. <tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": [1, \"}\\\"\"]}}\n</tool_call>"),
    (1, 0, "a <tool b <tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\n<tool_call>{\"arguments\": {}, \"name\": \"g\"}</tool_call>"),
    (1, 8, "<tool_call>not json</tool_call><tool_call>{\"name\": \"f\"}</tool_call> bye"),
    (2, 0, "<|python_tag|>{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": {\"a\": 1}}"),
    (2, 3, "{\"name\": \"f\", \"parameters\": {\"x\": \"y\"}}"),
    (3, 4, "[{\"name\": \"gr\\u00f6\\\"\", \"arguments\": {\"x\": 1}}, {\"name\": \"g\", \"arguments\": {}}]"),
    (3, 0, "Well. [TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {}}]"),
    (4, 0, "Well. [TOOL_CALLS]f[ARGS]{\"x\": \"}\"}[TOOL_CALLS]g[CALL_ID]a1b2c3d4e[ARGS]{} and so on"), (4, 4, "f[ARGS]{}[TOOL_CALLS]g[AR"),
    (0, 3, "never </thin ends </think> x"),
    (1, 1, " " * 300 + "<think>"), (1, 1, "<think>" + " " * 300 + "a" + " " * 300 + "</think>" + "\n" * 300 + "b" + " " * 300 + "<tool_call>{"),
    (2, 0, " " * 254 + "{\"name\": \"f\", \"parameters\": {}}" + " " * 300 + ";{"),
]

KEYS = "# name key\nalice sk-0123456789 streams=8 calls-per-minute=60 tokens-per-minute=1e5\r\n" \
       "bob sha256:" + "9f" * 32 + "  space=team\n\ncarol\tsecret-of-carol space=team\n"

SCHEMAS = [
    {"type": "object", "properties": {"a": {"type": "string", "minLength": 1, "maxLength": 9}, "b": {"type": "integer", "minimum": -3, "maximum": 120}},
     "required": ["a"], "additionalProperties": False},
    {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0, "maximum": 1.5}, "minItems": 1, "maxItems": 3},
    {"$defs": {"n": {"type": "object", "properties": {"v": {"type": "boolean"}, "next": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"},
    {"anyOf": [{"const": None}, {"enum": ["red", "grün", 5, -1.5, {"a": [1]}]}, {"type": ["string", "null"], "pattern": "^[a-f0-9]{2,4}$"}]},
    {"type": "string", "format": "date-time"}, {"type": "string", "format": "uuid"}, {"type": "string", "format": "ipv4"},
    {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1}, {"prefixItems": [{"type": "string"}, {}], "items": False},
    {"allOf": [{"type": "object", "properties": {"a": {}}}, {"required": ["a"]}]}, {"oneOf": [{"type": "integer"}, {"type": "string"}]}, {}, True,
]
REGEXES = [r"^(yes|no|maybe)$", r"[A-Za-z_]\w{0,7}(-[0-9]+)?", r"\d{4}-\d\d-\d\d(T.*)?", r"(?:ä|[^\x00-\x7f\n])+?\u00e9*", r"(a|b)*c{2,}|\s\S\D\W",
           r"[]a-]|[^]x]|[\]\-\\]", r"((((a?)?)?)?){5}"]
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "d", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 7}}, "required": ["city"]}}}

HI = [{"role": "user", "content": "Hi"}]
BODIES = [
    (0, {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                      {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{\"city\": \"Ulm\"}"}}]},
                      {"role": "tool", "tool_call_id": "c1", "content": "rain"}], "tools": [TOOL], "tool_choice": "auto", "max_tokens": 5}),
    (0, {"messages": HI, "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "get_weather"}}, "parallel_tool_calls": False}),
    (0, {"messages": HI, "tools": [TOOL], "tool_choice": "required", "stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}),
    (0, {"messages": HI, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMAS[0], "strict": True}}}),
    (0, {"messages": HI, "response_format": {"type": "json_object"}, "logprobs": True, "top_logprobs": 3, "logit_bias": {"5": -100, "7": 2.5}}),
    (0, {"messages": HI, "temperature": 0, "top_p": 0.5, "top_k": 3, "min_p": 0.1, "seed": -1, "n": 2, "stop": ["a", "b"], "stop_token_ids": [1, 2],
         "presence_penalty": 1, "frequency_penalty": -1, "repetition_penalty": 1.1, "max_completion_tokens": 7, "min_tokens": 1, "ignore_eos": True,
         "user": "u", "metadata": {}, "cache_salt": "s", "priority": 1}),
    (0, {"messages": HI, "chat_template_kwargs": {"enable_thinking": True}, "add_generation_prompt": False, "continue_final_message": False,
         "separate_reasoning": True, "include_reasoning": False}),
    (0, {"messages": HI, "guided_regex": "[ab]+", "structured_outputs": {"choice": ["a", "b"]}}),
    (0, {"messages": HI, "guided_choice": ["yes", "no"]}), (0, {"messages": HI, "guided_json": dump(SCHEMAS[1]).decode()}),
    (1, {"prompt": "Hello", "max_tokens": 0, "echo": True, "logprobs": 2, "suffix": None, "best_of": 1}),
    (1, {"prompt": ["a", "b"], "n": 1, "stream": True, "truncate_prompt_tokens": 3, "return_token_ids": True, "return_tokens_as_token_ids": True}),
    (1, {"prompt": [[1, 2, 3], [4]], "stop": "x", "add_special_tokens": False, "skip_special_tokens": False, "include_stop_str_in_output": True}),
    (2, {"text": "Hello", "sampling_params": {"max_new_tokens": 4, "temperature": 0.5, "json_schema": dump(SCHEMAS[0]).decode(), "stop": ["a"]}, "return_logprob": True,
         "top_logprobs_num": 2, "logprob_start_len": 0}),
    (2, {"input_ids": [1, 2, 3], "sampling_params": {"regex": "a+", "n": 2}, "stream": True}), (2, {"prompt": "plain", "max_tokens": 3}),
    (3, {"prompt": "Hello", "add_special_tokens": True, "return_token_strs": True}), (3, {"messages": HI, "add_generation_prompt": True, "tools": [TOOL]}),
    (4, {"tokens": [72, 105, 256]}),
]

TEMPLATES = [
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m.content | trim }}{% endfor %}",
    "{%- set ns = namespace(x=0) -%}{% for i in l if i > 1 %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% macro m(a, b=2) %}{{ a ~ b }}{{ varargs }}{{ kwargs }}{{ caller() if caller }}{% endmacro %}{{ m(1, *l, **d) }}{% call(v) m(1) %}{{ v }}{% endcall %}",
    "{% for t in l recursive %}{{ loop.index }}{{ loop.changed(t) }}{{ loop.cycle(1, 2) }}{{ loop.previtem }}{% else %}none{% endfor %}",
    "{{ d | tojson(indent=2) }}{{ l | sort | reverse | list | join(', ') }}{{ s.split('l', 1)[-1] }}",
    "{% set t %}{% filter upper %}{{ s }}{% endfilter %}{% endset %}{{ t[::-1] }}{{ s[1:-1:2] }}{% raw %}{{ }}{% endraw %}{# c #}",
    "{% if s is string and n is not odd or x is defined %}{{ s.title() }}{% elif l %}a{% else %}b{% endif %}{{ '%5.2f|%s|%-4d' % (3.14159, s, n) }}",
    "{{ 'a{0}b{x!r:>9}'.format(1, x=s) }}{{ messages | selectattr('role', 'in', ['user']) | map(attribute='content') | list }}",
    "{{ (n * 3 // 2) ** 2 % 7 - f / 3 }}{{ n in l and 'x' not in s }}{{ 1 if n else 2 }}{{ not n }}{{ n == 4.0 }}{{ -n | abs }}",
    "{% with a = 1, b = s %}{{ a }}{{ b | indent(2, true) }}{% endwith %}{{ s | replace('l', '') | e | length }}{{ l | batch(2, 0) | list }}{{ l | slice(2) | list }}",
    "{{ l | groupby(0) }}{{ d | dictsort(by='value') }}{{ '\\u00e9\\x41\\n' }}{{ range(3, 9, 2) | list }}{{ strftime_now('%Y') }}{{ d.items() | list }}",
    "{% for k, v in d.items() %}{% if loop.first %}{% continue %}{% endif %}{{ k }}{% break %}{% endfor %}{{ raise_exception('no: ' + s) }}",
    "{% generation %}{{ [1, 2.5, 'x', none, true, {'a': [()]}] }}{% endgeneration %}{{ dict(a=1) | tojson }}{{ l | unique | sum }}{{ s | center(20) | wordcount }}",
]
VARIABLES = {"messages": [{"role": "user", "content": "hé"}, {"role": "tool", "content": None}], "l": [1, 2, 3], "d": {"a": 1, "b": ["x"]},
             "s": "Hello é", "n": 4, "f": 0.5}


def hub_answers():
    info = dump({"sha": "c0ffee", "siblings": [{"rfilename": n} for n in ("config.json", "tokenizer.json", "model.safetensors", "../evil")]}).decode()
    head = "HTTP/1.1 200 OK\r\nETag: \"abc{}\"\r\nContent-Length: 2\r\nX-Repo-Commit: c0ffee\r\n"
    yield "small", b"".join(bytes([0xf0]) + t.encode() + b"\0" for t in (info, head.format(1), "{}", head.format(2), "{}"))
    yield "weights", b"".join(bytes([f]) + t.encode() + b"\0" for f, t in (
        (0xf0, info), (0xf0, head.format(1)), (8, "{"), (3, "}"), (0xf4, "X-Linked-Etag: W/\"" + "a" * 64 + "\"\r\nX-Linked-Size: 3\r\n"),
        (0xf0, "http://elsewhere/x"), (0, "abc"), (0, "abd"), (0xf6, ""), (0xf7, "")))
    index = info.replace('"model.safetensors"', '"model.safetensors.index.json"},{"rfilename":"model-1.safetensors"')
    yield "shards", b"".join(bytes([0xf0]) + t.encode() + b"\0" for t in (index, head.format(1), "{}", head.format(2), "{}",
                             "ETag: x\r\n", '{"weight_map":{"a":"model-1.safetensors"}}', "ETag: y\r\n", "123")) + b" "


def tokenizers():
    """The golden vectors' files with a small vocabulary, one as it is."""
    vectors = json.load(open(os.path.join(GOLDEN, "tokenizer_vectors.json"), encoding="utf-8"))
    for at, case in enumerate(vectors["cases"]):
        root = json.loads(json.dumps(vectors["base"]))
        root.update(case["parts"])
        model = root["model"] = {**root["model"], **case["model"]}
        kept = {k: v for k, v in model["vocab"].items() if v < (256 if at % 20 == 0 else 30) or len(k) > 1 and v < 330}
        kept.update({c: v for c, v in model["vocab"].items() if c in "Ġaehlot?"})
        model["vocab"] = kept
        pairs = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
        good = [at for at, (a, b) in enumerate(pairs) if a in kept and b in kept and a + b in kept][:12]
        model["merges"] = [model["merges"][at] for at in good]
        yield re.sub(r"\W+", "-", case["name"]), dump(root)


def sessions():
    """Events of tests/fuzz/router_session.c: its switch says what each byte means."""
    hello = [bytes([2 + 16 * w, 0]) for w in range(3)]
    idle, tick = bytes([3, 0, 3]), bytes([12, 20])
    for request in range(11):
        one = hello[0] + hello[1] + bytes([9, 0, 2]) + idle + bytes([0, request])
        yield f"answer-{request}", one + bytes([4, 0, 0, 3, 5, 1, 0, 3]) * 14 + tick
        yield f"resume-{request}", one + bytes([4, 0, 0, 3, 4, 1, 0, 2, 10, 0, 0, 26, 0, 0]) + hello[2] + tick + bytes([4, 2, 0, 3, 4, 3, 0, 3, 4, 0, 0, 3]) * 8
    yield "leaves", hello[0] + bytes([0, 1, 4, 0, 0, 2, 27, 0, 0, 2, 11, 1, 4, 1, 0, 2, 4, 1, 0, 2])
    yield "drains", hello[0] + hello[1] + bytes([0, 1, 0, 0, 255]) + bytes([12, 150, 4, 0, 0, 7, 4, 1, 0, 7]) * 8
    yield "errors", hello[0] + hello[1] + b"".join(bytes([0, 1, 7, n, n]) + tick for n in range(16))
    yield "full", hello[0] + bytes([30, 0, 1]) + tick + bytes([14]) + hello[1] + bytes([4, 0, 0, 7])
    yield "cache", hello[0] + bytes([9, 0, 2, 8, 16, 3, 8, 2, 1, 8, 4, 2]) + tick * 9 + bytes([9, 0, 7, 9, 0, 3])
    yield "lies", hello[0] + bytes([0, 3]) + b"".join(bytes([4, n, n, n]) for n in range(0, 64, 3)) + b"\x0d" + bytes([len(pack(FRAMES["load"]))]) + pack(FRAMES["load"])


def worker_sessions():
    """Events of tests/fuzz/worker_session.c."""
    welcome, tick = bytes([2, 8, 18, 8]), bytes([12, 20])
    step = bytes([8, 10])

    def generate(link, name, attempt=1, how=0, more=0, length=20, made=0, wanted=9):
        return bytes([16 * link, name, attempt, how, more, length, made, wanted])
    yield "runs", welcome + generate(0, 1) + generate(1, 2, how=2) + step * 6 + tick + step * 9
    yield "overlaps", welcome + b"".join(generate(n & 1, n, how=n & 2, length=70) for n in range(8)) + bytes([8, 8, 10]) * 30
    yield "everything", welcome + generate(0, 1, how=0x3c, more=0xff) + generate(0, 9, how=0x24, more=0x16) + step * 9 + bytes([12, 200]) + step * 9
    yield "grammars", welcome + generate(0, 1, how=0x80) + generate(0, 2, how=0xc0) + generate(1, 3, how=0x83) + step * 9
    yield "attempts", welcome + generate(0, 1) + step * 3 + generate(0, 1, 3, made=2) + generate(0, 1, 2) + bytes([3, 1]) + step * 9
    yield "breaks", welcome + generate(0, 1) + generate(1, 1) + bytes([8, 13 + 64, 12, 2, 10, 2, 8, 13 + 32, 10, 8, 12, 9, 13]) + welcome + generate(0, 2) + step * 9
    yield "drains", welcome + generate(0, 1) + bytes([255]) + generate(0, 2) + bytes([12, 2]) + step * 9
    yield "says", welcome + b"".join(bytes([n, n]) for n in range(2, 8)) + bytes([14, len(pack(FRAMES["cancel"]))]) + pack(FRAMES["cancel"]) + bytes([12, 255, 12, 255])
    yield "long", welcome + b"".join(generate(n & 1, n, length=110, wanted=8) for n in range(9)) + step * 60


def weights():
    two = dump({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "b": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [8, 12]},
                "__metadata__": {"format": "pt"}})
    yield "one", bytes([0, 12, 0]) + two
    yield "odd-types", bytes([0, 3, 0]) + dump({"a": {"dtype": "I8", "shape": [3], "data_offsets": [0, 3]}, "b": {"dtype": "F8_E5M9", "shape": [], "data_offsets": [3, 3]}})
    yield "sharded", bytes([1, 12, 0]) + two + b"\0" + dump({"weight_map": {"a": "model-1.safetensors", "b": "model-1.safetensors"}})
    yield "long-header", bytes([102, 12, 0]) + two
    yield "huge", bytes([4, 12, 0]) + dump({"a": {"dtype": "F64", "shape": [2305843009213693952], "data_offsets": [0, 18446744073709551603]}})


def configs():
    for name in sorted(os.listdir(os.path.join(GOLDEN, "tiny"))):
        yield name[:-5], json.load(open(os.path.join(GOLDEN, "tiny", name), encoding="utf-8"))["config"]


# ---- entries of a killed worker's pages: page, parent (255: none), namespace, tokens, what is wrong

MIRRORS = {
    "tree": [(0, 255, 0, 1, 2), (1, 0, 0, 3, 4), (2, 1, 0, 5, 6), (3, 1, 0, 7, 8), (4, 255, 1, 1, 2), (5, 4, 1, 3, 4)],
    "twins": [(7, 255, 0, 1, 1), (8, 255, 0, 1, 1), (9, 7, 0, 2, 2), (10, 8, 0, 3, 3)],
    "circle": [(1, 2, 0, 1, 1), (2, 1, 0, 2, 2), (3, 3, 0, 3, 3), (4, 200, 0, 4, 4, 16), (5, 255, 0, 5, 5, 4)],
    "torn": [(0, 255, 0, 1, 2, 1), (1, 0, 0, 3, 4), (2, 255, 2, 5, 6, 2), (3, 2, 2, 7, 8), (4, 255, 1, 1, 2, 8)],
}
MIRRORS = {name: [e + (0,) * (6 - len(e)) for e in entries] for name, entries in MIRRORS.items()}


def all_seeds():
    for at, (form, flags, text) in enumerate(ANSWERS):
        yield "answer", f"{at}", bytes([form, flags, at]) + text.encode()
    yield "api_keys", "file", KEYS.encode()
    yield "automaton", "lists", struct.pack("<H", len(automaton())) + automaton() + b"[[t]t[]]"
    for name, config in configs():
        yield "config", name, dump(config)
        yield "model_folder", "config-" + name, b"\1" + dump(config)
    for name, frame in FRAMES.items():
        yield "frames", name, pack(frame)
    for at, schema in enumerate(SCHEMAS):
        yield "grammar", f"schema-{at}", bytes([0, at]) + dump(schema)
    for at, regex in enumerate(REGEXES):
        yield "grammar", f"regex-{at}", bytes([1, at]) + regex.encode()
    yield "grammar", "choices", bytes([2, 1]) + dump(["yes", "no", "nö", ""])
    for kind in (3, 4):
        yield "grammar", f"tools-{kind}", bytes([kind, 1]) + dump([TOOL, {"type": "function", "function": {"name": "f"}}])
    for at, (kind, body) in enumerate(BODIES):
        yield "http_body", f"{at}", bytes([kind, 1]) + dump(body)
    for name, data in hub_answers():
        yield "hub", name, data
    for at, template in enumerate(TEMPLATES):
        yield "jinja", f"{at}", text_of(template, dump(VARIABLES))
        yield "model_folder", f"template-{at}", b"\3" + template.encode()
    yield "model_folder", "generation", b"\0" + dump({"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0, "eos_token_id": [256, 257], "do_sample": True})
    yield "model_folder", "named", b"\2" + dump({"chat_template": [{"name": "default", "template": TEMPLATES[0]}, {"name": "tool_use", "template": "{{ tools }}"}],
                                               "bos_token": "<s>", "eos_token": {"content": "</s>"}, "model_max_length": 1e30})
    for name, entries in MIRRORS.items():
        yield "mirror", name, bytes([len(entries)]) + b"".join(map(bytes, entries))
    for kind, message in rank_messages():
        yield "rank_message", kind, message
    for name, data in sessions():
        yield "router_session", name, data
    for name, data in worker_sessions():
        yield "worker_session", name, data
    for name, data in weights():
        yield "safetensors", name, data
    for name, data in tokenizers():
        yield "tokenizer", name, data


def main():
    for target, name, data in all_seeds():
        folder = os.path.join(sys.argv[1], target)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "seed-" + name), "wb") as f:
            f.write(data)


if __name__ == "__main__":
    main()
