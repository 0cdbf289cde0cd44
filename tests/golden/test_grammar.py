"""Schemas, expressions and choices against what Python says of them: every random walk through a compiled
automaton is valid JSON and valid for its schema, and texts that must pass do. GRAMMAR_CASES=N asks for
more than 10,000."""
import ipaddress
import json
import os
import random
import re
import subprocess
import urllib.parse

import jsonschema
import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
PIPE = os.path.join(ROOT, os.environ.get("MSGL_BUILD", "build"), "tests", "grammar_pipe")
CASES = int(os.environ.get("GRAMMAR_CASES", "10000"))


class Pipe:
    def __init__(self):
        self.process = subprocess.Popen([PIPE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **fields):
        self.process.stdin.write(json.dumps(fields) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def pipe():
    p = Pipe()
    yield p
    p.process.stdin.close()
    p.process.wait()


def name(rng):
    return rng.choice(["a", "b", "name", "größe", "x y", 'q"q', "id", "items", "value", "next"]) + str(rng.randrange(4))


def schema_of(rng, depth):
    """A random schema of supported keywords."""
    leaf = depth <= 0
    kind = rng.choice(["string", "integer", "number", "boolean", "null", "enum", "const", "pattern", "format"] +
                      ([] if leaf else ["array", "object", "object", "anyOf", "types", "map", "tuple"]))
    if kind == "string":
        low, high = sorted((rng.randrange(6), rng.randrange(30)))
        return {"type": "string", **({"minLength": low} if rng.random() < .3 else {}), **({"maxLength": high} if rng.random() < .3 else {})}
    if kind in ("integer", "number"):
        low = rng.randrange(-2000, 2000)
        high = low + rng.randrange(2, 5000)
        out = {"type": kind}
        if rng.random() < .5:
            out[rng.choice(["minimum", "exclusiveMinimum"])] = low
        if rng.random() < .5:
            out[rng.choice(["maximum", "exclusiveMaximum"])] = high
        return out
    if kind in ("boolean", "null"):
        return {"type": kind}
    if kind == "enum":
        return {"enum": [rng.choice(["red", "grün", 5, -1.5, None, True, {"a": [1]}, 'quo"te']) for _ in range(rng.randrange(1, 4))]}
    if kind == "const":
        return {"const": rng.choice(["x", 3, [1, 2], {"k": "v"}, None])}
    if kind == "pattern":
        return {"type": "string", "pattern": rng.choice([
            "^[a-z]{2,5}$", "^\\d{3}-\\d{4}$", "^(foo|bar)+$", "[0-9]", "^\\w+@\\w+\\.com$", "^[^\"\\\\]*$", "^a.b$", "^[A-Z][a-z]*( [A-Z][a-z]*)?$"])}
    if kind == "format":
        return {"type": "string", "format": rng.choice(["date", "date-time", "time", "uuid", "ipv4", "ipv6", "email", "hostname", "uri", "duration"])}
    if kind == "array":
        low = rng.randrange(3)
        out = {"type": "array", "items": schema_of(rng, depth - 1)}
        if rng.random() < .4:
            out["minItems"] = low
        if rng.random() < .4:
            out["maxItems"] = low + rng.randrange(3)
        return out
    if kind == "tuple":
        parts = [schema_of(rng, depth - 2) for _ in range(rng.randrange(1, 3))]
        return {"type": "array", "prefixItems": parts, "items": False, "minItems": rng.randrange(len(parts) + 1)}
    if kind == "map":
        return {"type": "object", "additionalProperties": schema_of(rng, depth - 1)}
    if kind == "anyOf":
        return {"anyOf": [schema_of(rng, depth - 1) for _ in range(rng.randrange(1, 4))]}
    if kind == "types":
        return {"type": rng.sample(["string", "null", "boolean", "integer"], 2)}
    names = sorted({name(rng) for _ in range(rng.randrange(5))})  # the same schemas in every run
    out = {"type": "object", "properties": {n: schema_of(rng, depth - 1) for n in names}}
    out["required"] = [n for n in names if rng.random() < .6]
    if rng.random() < .5:
        out["additionalProperties"] = False
    return out


def test_every_walk_is_valid(pipe, tell):
    rng = random.Random(11)
    checked = refused = 0
    longest = 0
    checker = jsonschema.FormatChecker(["date", "ipv4", "ipv6", "email", "uuid"])
    while checked < CASES:
        schema = schema_of(rng, 3)
        reply = pipe.ask(schema=schema, texts=5)
        assert "stuck" not in reply, (schema, reply["stuck"])
        if "error" in reply:
            assert reply["status"] in ("unsupported",), (schema, reply)
            refused += 1
            continue
        validator = jsonschema.Draft202012Validator(schema, format_checker=checker)
        assert len(reply["texts"]) == 5
        for text in reply["texts"]:
            try:
                value = json.loads(text)
            except ValueError as e:
                raise AssertionError(f"{schema}: {text!r} is no JSON: {e}") from e
            errors = [e.message for e in validator.iter_errors(value)]
            assert not errors, (schema, text, errors)
            checked += 1
            longest = max(longest, len(text))
    tell(f"{checked} generated texts valid, {refused} schemas refused, longest text {longest}")
    assert refused < CASES / 50


def test_texts_that_must_pass(pipe):
    person = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "tags": {"type": "array", "items": {"type": "string"}}},
              "required": ["name", "age"], "additionalProperties": False}
    texts = ['{"name": "Jo", "age": 3}', '{"name":"Jo","age":-3,"tags":["a","b"]}', '{\n  "name": "J\\u00f6",\n  "age": 30,\n  "tags": []\n}']
    assert pipe.ask(schema=person, accepts=texts)["accepts"] == [True] * 3
    wrong = ['{"name": "Jo"}', '{"age": 3, "name": "Jo"}', '{"name": "Jo", "age": 3.5}', '{"name": 1, "age": 3}', '{"name": "Jo", "age": 3, "x": 1}', '[]', '{"name": "Jo", "age": 3}}']
    assert pipe.ask(schema=person, accepts=wrong)["accepts"] == [False] * len(wrong)


def test_dates_are_those_that_python_reads(pipe):
    """Years begin with 1: many readers refuse 0000, which RFC 3339 allows."""
    years = {"0000": False, "0001": True, "0010": True, "0100": True, "1000": True, "2026": True, "9999": True, "10000": False}
    for form, rest in (("date", "-02-28"), ("date-time", "-02-28T23:59:59Z")):
        texts = [f'"{year}{rest}"' for year in years]
        assert pipe.ask(schema={"type": "string", "format": form}, accepts=texts)["accepts"] == list(years.values())


def is_host(text):
    labels = text.split(".")
    return len(text) <= 253 and all(re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", label) and label[2:4] != "--" for label in labels)


def is_uri(text):
    parts = urllib.parse.urlsplit(text)
    if re.search("%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9._~!$&'()*+,;=:@/?#%-]", text):
        return False
    return bool(parts.scheme) and is_host(parts.hostname or "-") and (parts.port is None or 0 < parts.port < 65536)


def is_duration(text):
    """RFC 3339, appendix A, rule by rule."""
    number = "[0-9]+"
    second = f"{number}S"
    minute = f"{number}M(?:{second})?"
    hour = f"{number}H(?:{minute})?"
    time = f"T(?:{hour}|{minute}|{second})"
    day = f"{number}D"
    month = f"{number}M(?:{day})?"
    year = f"{number}Y(?:{month})?"
    return bool(re.fullmatch(f"P(?:(?:{day}|{month}|{year})(?:{time})?|{time}|{number}W)", text))


def is_ipv6(text):
    try:
        return bool(ipaddress.IPv6Address(text))
    except ValueError:
        return False


@pytest.mark.parametrize("form,check,good", [
    ("hostname", is_host, ["a", "localhost", "api.example.com", "a-b.c1.org"]),
    ("ipv6", is_ipv6, ["::1", "::2", "fe80::", "2001:db8::ff00:42:8329", "1:2:3:4:5:6:7:8", "fe80::1:2:3:4", "1:2:3:4:5::8", "::ffff:1:2"]),
    ("uri", is_uri, ["https://example.com", "https://example.com/a/b.html?x=1&y=%20#top", "ftp://h:21/", "http://localhost:8000/v1/models"]),
    ("duration", is_duration, ["P1D", "PT5M", "P1Y2M3DT4H5M6S", "P3W", "PT0S", "P1DT12H"]),
])
def test_formats(pipe, tell, form, check, good):
    bad = ["", "x y", "-a", "a-", "1::2::3", ":", "12345::", "1:2:3", "http:/x", "http://a_b", "http://x/%zz", "P", "PT", "P1H", "P1Y1D", "P1DT", "1D"]
    bad = [text for text in bad if not check(text)]
    assert len(bad) > 10 and all(check(text) for text in good)
    reply = pipe.ask(schema={"type": "string", "format": form}, texts=2000, accepts=[json.dumps(t) for t in good + bad])
    assert reply["accepts"] == [True] * len(good) + [False] * len(bad)
    assert len(reply["texts"]) == 2000 and all(check(json.loads(t)) for t in reply["texts"]), [t for t in reply["texts"] if not check(json.loads(t))][:5]
    tell(f"{reply['states']} states, {len(set(reply['texts']))} different texts valid")


def test_space_stands_behind_marks_only(pipe):
    """A model that may put a line's end in front of a colon sometimes does so, at the price of a token a member."""
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}, "b": {}}, "required": ["a", "b"]}
    accepts = ['{"a": [1, 2], "b": {"c": 1}}', '{\n  "a": [\n    1,\n    2\n  ],\n  "b": {"c":1, "d": 2}\n}', '{"a" : [1, 2], "b": 1}',
               '{"a": [1 , 2], "b": 1}', '{"a": [1, 2] , "b": 1}', '{ "a":[ 1,2 ],"b":null }']
    assert pipe.ask(schema=schema, accepts=accepts)["accepts"] == [True, True, False, False, False, True]


@pytest.mark.parametrize("low,high", [(0, 5), (1, 10), (3, None), (4, 4), (2, 40), (7, 64)])
@pytest.mark.parametrize("pattern", ["^[a-z]+$", "^[a-z]+(-[a-z0-9]+)*$", "[0-9]", "^x", "y$", "^(a|bb|ccc)*$", "^(a?b?c)*$", "^.*é.*$", "^[^@]+@[^@]+$",
                                     "^(\\w{2,3} ?){1,8}$", "^\"\\\\*$"])
def test_patterns_with_a_length(pipe, pattern, low, high):
    schema = {"type": "string", "pattern": pattern, "minLength": low, **({"maxLength": high} if high else {})}
    rng = random.Random(repr(schema))
    tries = ["".join(rng.choice("abcxy-0 é@\"\\") for _ in range(rng.randrange(9))) for _ in range(300)] + ["a" * n for n in range(70)]
    right = [bool(re.search(pattern, t, re.ASCII)) and low <= len(t) <= (high or 10 ** 9) for t in tries]
    reply = pipe.ask(schema=schema, texts=60, accepts=[json.dumps(t, ensure_ascii=False) for t in tries])
    if "error" in reply:  # nothing of such a length matches
        assert "length" in reply["error"] and not any(right), (reply, [t for t, r in zip(tries, right) if r])
        return
    assert "stuck" not in reply, reply
    assert reply["accepts"] == right, [t for t, a, r in zip(tries, reply["accepts"], right) if a != r]
    for text in map(json.loads, reply["texts"]):
        assert re.search(pattern, text) and low <= len(text) <= (high or 10 ** 9), text


def test_formats_with_a_length(pipe):
    for form, low, high in (("email", 10, 20), ("hostname", 1, 9), ("uri", 12, 60), ("date", 10, 10)):
        reply = pipe.ask(schema={"type": "string", "format": form, "minLength": low, "maxLength": high}, texts=100)
        assert "stuck" not in reply and all(low <= len(json.loads(t)) <= high for t in reply["texts"]) and len(reply["texts"]) == 100, reply
    assert pipe.ask(schema={"type": "string", "format": "date", "maxLength": 9})["status"] == "unsupported"


def members(count, value):
    names = [f"p{i}" for i in range(count)]
    return {"type": "object", "properties": {n: value for n in names}, "required": names, "additionalProperties": False}


@pytest.mark.parametrize("schema,states", [
    (members(20, {"type": "string", "maxLength": 200}), 5000), (members(10, {"type": "string", "minLength": 2, "maxLength": 1000}), 12000),
    ({"type": "array", "items": {"type": "integer"}, "minItems": 200, "maxItems": 400}, 3000),
    ({"type": "array", "items": members(12, {"type": "array", "items": {"type": "number"}, "maxItems": 3}), "maxItems": 90}, 2000),
    ({"type": "array", "items": members(4, {"type": "string", "maxLength": 90}), "prefixItems": [{"const": "head"}], "minItems": 2, "maxItems": 100}, 2000),
    (members(2, {"anyOf": [{"type": "null"}, {"type": "array", "items": {"type": ["integer", "null"]}, "maxItems": 300}]}), 3000),
    (members(2, {"type": "object", "additionalProperties": {"type": "string", "maxLength": 900}, "propertyNames": {"type": "string"}}), 6000),
])
def test_what_repeats_is_a_call(pipe, schema, states):
    """Schemas that had too many states when each place of an item, a number or a character was spelled out."""
    reply = pipe.ask(schema=schema, texts=30)
    assert "error" not in reply and "stuck" not in reply, reply
    assert 0 < reply["states"] < states and len(reply["texts"]) == 30
    validator = jsonschema.Draft202012Validator(schema)
    for text in reply["texts"]:
        assert not list(validator.iter_errors(json.loads(text))), text


def test_counted_characters(pipe):
    """In the compact form too: raw, escaped or of several bytes, each is one character."""
    schema = members(12, {"type": "string", "minLength": 3, "maxLength": 300})
    def text(value, rest="abc"):
        return "{" + ", ".join(f'"p{i}": "{value if i == 5 else rest}"' for i in range(12)) + "}"
    good = ["abc", "größe", "日本語", '\\"\\n\\u00e9', "🙂🙂🙂", "a" * 300, "é" * 300, "\\/\\\\\\b"]
    bad = ["ab", "é" * 2, "\\n\\n", "a" * 301, "日" * 301, "\x01ab", '"""', "\\u12", "\\ud800aa", "\\x00a"]
    reply = pipe.ask(schema=schema, accepts=[text(v) for v in good + bad])
    assert reply["accepts"] == [True] * len(good) + [False] * len(bad) and reply["states"] < 6000


def test_a_refusal_of_the_first_try_is_told(pipe):
    """Compact, a whole number and a constant begin with the same byte and nest differently."""
    schema = members(30, {"anyOf": [{"type": "array", "items": {"anyOf": [{"type": "integer"}, {"const": 5}]}, "maxItems": 400}, {"type": "null"}]})
    reply = pipe.ask(schema=schema)
    assert reply["status"] == "unsupported" and ("too many" in reply["error"] or "too large" in reply["error"]), reply


def test_any_object_nests(pipe):
    reply = pipe.ask(schema=None, texts=300, accepts=['{"a": [1, {"b": null}, -2.5e3, "x\\n", true]}', "{}", '{"a": {"b": {"c": {"d": [[[[]]]]}}}}', "[]", '{"a":}', '{"a": 01}'])
    assert reply["accepts"] == [True, True, True, False, False, False]
    assert all(isinstance(json.loads(t), dict) for t in reply["texts"]) and len(reply["texts"]) == 300
    assert reply["states"] < 500


def test_references(pipe):
    tree = {"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {
        "value": {"$ref": "#/$defs/number"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
        "required": ["value", "children"], "additionalProperties": False}, "number": {"type": "integer", "minimum": 1, "maximum": 12}}}
    reply = pipe.ask(schema=tree, texts=200, accepts=['{"value": 7, "children": [{"value": 1, "children": []}]}', '{"value": 13, "children": []}'])
    assert reply["accepts"] == [True, False]
    for text in reply["texts"]:
        jsonschema.validate(json.loads(text), tree)


@pytest.mark.parametrize("schema,word", [
    ({"not": {}}, "not"), ({"type": "array", "uniqueItems": True}, "uniqueItems"), ({"patternProperties": {}}, "patternProperties"),
    ({"type": "string", "pattern": "(?=x)y"}, "look-around"), ({"type": "number", "multipleOf": 0.1}, "multipleOf"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"), ({"allOf": [{"type": "object"}, {"type": "object"}]}, "allOf"),
    ({"$ref": "http://x/y"}, "$ref"), ({"type": "object", "minProperties": 2}, "minProperties"), ({"if": {}}, "if"),
])
def test_unsupported_keywords_are_named(pipe, schema, word):
    reply = pipe.ask(schema=schema, texts=1)
    assert reply.get("status") == "unsupported" and word in reply["error"], reply


EXPRESSIONS = ["a", "abc|def", "[a-c]+x?", "(ab){2,3}", "\\d{4}-\\d{2}", "[^a-z]{3}", ".{5}", "\\w+\\s\\w+", "(?:x|yy)*z", "é+", "[а-я]{2}", "a{3}",
               "[\\]\\-a]", "\\.\\*\\\\", "(a|b|)c", "\\u00e9\\x41", "[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}", "^yes|no$".replace("^yes|no$", "^(yes|no)$"), "\\S{1,4}", "\U0001F600?x"]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions(pipe, expression):
    reply = pipe.ask(regex=expression, texts=50)
    assert "error" not in reply, reply
    for text in reply["texts"]:
        assert re.fullmatch(expression, text), (expression, text)


def test_choices(pipe):
    reply = pipe.ask(choices=["yes", "no", "yes, but"], texts=60, accepts=["yes", "yes, but", "ye", "maybe"])
    assert set(reply["texts"]) == {"yes", "no", "yes, but"} and reply["accepts"] == [True, True, False, False]
    assert "error" in pipe.ask(choices=[], texts=1)


@pytest.mark.parametrize("words", [["ab", "b"], ["aab"], ["abcabd", "cab"], ["é", "日本"], ["a"], ["aa", "aaa", "baab"], ['"', "}"]])
def test_words_that_never_come(pipe, words):
    """Exactly the texts that hold none of the words pass: all short ones over their letters, and random walks."""
    letters = sorted(set("".join(words)) | {"x"})
    texts = [""]
    for text in texts:
        if len(text) < (5 if len(letters) < 5 else 4):
            texts += [text + c for c in letters]
    reply = pipe.ask(without=words, accepts=texts, texts=50)
    assert reply["accepts"] == [not any(w in t for w in words) for t in texts]
    assert not any(w in (t or "") for w in words for t in reply["texts"])


def test_hostile_schemas_end(pipe):
    deep = {"type": "object"}
    for _ in range(200):
        deep = {"type": "object", "properties": {"a": deep}}
    assert "error" in pipe.ask(schema=deep, texts=1)
    wide = {"type": "array", "minItems": 1000, "items": {"type": "string", "maxLength": 1000}}
    assert pipe.ask(schema=wide, texts=1)["states"] < 5000
    assert "error" in pipe.ask(schema=members(40, {"type": "string", "maxLength": 1000}), texts=1)
    assert "error" in pipe.ask(schema={"$ref": "#"}, texts=1)
    assert "error" in pipe.ask(regex="((((a{1000}){1000}){1000}){1000})", texts=1)
    assert "error" in pipe.ask(regex="(", texts=1)
    for pattern in ("^((a+)b)+$", "^((a*)*)*$", "(x+x+)+y"):
        assert "large" in pipe.ask(schema={"type": "string", "pattern": pattern, "maxLength": 1000})["error"]
    bomb = {"$defs": {f"d{i}": {"type": "array", "prefixItems": [{"$ref": f"#/$defs/d{i + 1}"}] * 8} for i in range(12)}, "$ref": "#/$defs/d0"}
    bomb["$defs"]["d12"] = {"type": "string"}
    assert "error" in pipe.ask(schema=bomb, texts=1)
