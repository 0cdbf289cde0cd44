"""The public JSON Schema Test Suite (as jsonschema's source package carries it) through the compiler of schemas: what is
accepted never lets an invalid text pass, every random walk is valid for the `jsonschema` package, what is refused is
refused by a keyword's name. SUITE_TEXTS=N: random texts a schema (default 20). The suite is fetched once, into MSGL_HOME."""
import collections
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile

import jsonschema
import pytest
from test_grammar import ROOT, pipe  # noqa: F401 (a fixture)

HOME = os.environ.get("MSGL_HOME", os.path.expanduser("~/.cache/msgl"))
TEXTS = int(os.environ.get("SUITE_TEXTS", "20"))
DRAFTS = {"draft2020-12": jsonschema.Draft202012Validator, "draft2019-09": jsonschema.Draft201909Validator,
          "draft7": jsonschema.Draft7Validator, "draft6": jsonschema.Draft6Validator, "draft4": jsonschema.Draft4Validator}
# Where a valid text does not pass, one of these is why. (name: may the value, or the schema, be so?)
NARROWER = {
    "type": "a keyword of one type implies that type",
    "order": "properties come in the schema's order, or a constant's members in its own",
    "others": "an object with properties has no others, a list with prefixItems no more",
    "spelling": "a constant is written in one way: 1 is not 1.0, and no space stands in it; integers have no point",
}


def wanted_version():
    with open(os.path.join(ROOT, "deploy", "local", "versions.txt"), encoding="utf-8") as f:
        return next(line.strip() for line in f if line.startswith("jsonschema=="))


def fetch(folder):
    with tempfile.TemporaryDirectory(dir=os.path.dirname(folder)) as work:
        done = subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "--no-binary", "jsonschema",
                               "-d", work, wanted_version()], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"the suite cannot be fetched here: {done.stderr.strip().splitlines()[-1:]}")
        with tarfile.open(next(os.path.join(work, f) for f in os.listdir(work) if f.endswith(".tar.gz"))) as tar:
            inside = [m for m in tar.getmembers() if "/json/tests/" in m.name and m.isfile() and ".." not in m.name]
            tar.extractall(work, inside)
            made = os.path.join(work, inside[0].name.split("/")[0], "json", "tests")
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(made, folder)


@pytest.fixture(scope="module")
def suite():
    """[(draft, file, group)]"""
    folder = os.path.join(HOME, "json-schema-suite-" + wanted_version().split("==")[1])
    if not os.path.isdir(folder):
        os.makedirs(HOME, exist_ok=True)
        fetch(folder)
    groups = []
    for draft in DRAFTS:
        for name in sorted(os.listdir(os.path.join(folder, draft))):
            if name.endswith(".json"):
                with open(os.path.join(folder, draft, name), encoding="utf-8") as f:
                    groups += [(draft, name, g) for g in json.load(f)]
    assert len(groups) > 1000
    return groups


def check_texts(schema, validator, reply):
    assert "stuck" not in reply, (schema, reply["stuck"])
    for text in reply["texts"]:
        errors = [e.message for e in validator(schema).iter_errors(json.loads(text))]
        assert not errors, (schema, text, errors)
    return len(reply["texts"])


def why_narrower(schema, value):
    """The entry of NARROWER under which a valid value does not pass."""
    text = json.dumps(schema)
    if isinstance(schema, dict) and ("const" in schema or "enum" in schema):
        return "spelling"
    if '"integer"' in text and isinstance(value, float) or isinstance(value, float) and value == int(value):
        return "spelling"
    if isinstance(value, dict) and "properties" in text:
        keys = list(schema.get("properties", {}))
        return "others" if set(value) - set(keys) else "order"
    if isinstance(value, list) and "prefixItems" in text:
        return "others"
    return "type"


def test_suite(pipe, suite, tell):
    counts, narrower = collections.Counter(), collections.Counter()
    for draft, name, group in suite:
        schema, tests = group["schema"], group["tests"]
        reply = pipe.ask(schema=schema, texts=TEXTS, accepts=[json.dumps(t["data"], ensure_ascii=False) for t in tests])
        if "error" in reply:
            check_refusal(schema, reply)
            counts["schemas refused"] += 1
            continue
        counts["schemas accepted"] += 1
        counts["generated texts"] += check_texts(schema, DRAFTS[draft], reply)
        for test, passes in zip(tests, reply["accepts"]):
            assert test["valid"] or not passes, f"{draft} {name}: {json.dumps(schema)} lets {json.dumps(test['data'])} pass"
            counts["valid, passes" if passes else "valid, too narrow" if test["valid"] else "invalid, stopped"] += 1
            if test["valid"] and not passes:
                narrower[why_narrower(schema, test["data"])] += 1
    tell(f"{dict(counts)}; too narrow by {dict(narrower)}")
    assert counts["schemas accepted"] > 500 and counts["valid, passes"] > 3 * counts["valid, too narrow"]


def check_refusal(schema, reply):
    """UNSUPPORTED, with a keyword that stands in the schema (or the words for what is no keyword)."""
    words = reply["error"].split()
    assert reply["status"] in ("unsupported", "invalid"), (schema, reply)
    if "two alternatives begin with the same character" in reply["error"] or "it is too" in reply["error"]:
        return
    assert words[:2] == ["the", "schema's"] and (f'"{words[2]}"' in json.dumps(schema) or words[2] == "false"), (schema, reply)


def test_schemas_made_of_the_suites(pipe, suite, tell):
    """Supported schemas of the suite, nested into one another: 10,000 texts, all valid."""
    rng, parts = random.Random(5), []
    for draft, _, group in suite:
        schema = group["schema"]
        if draft == "draft2020-12" and isinstance(schema, dict) and "ref" not in json.dumps(schema) and \
                "error" not in pipe.ask(schema=schema, texts=0):
            parts.append({k: v for k, v in schema.items() if k != "$schema"})
    assert len(parts) > 80
    checked = refused = 0
    while checked < 10_000:
        a, b, c = (rng.choice(parts) for _ in range(3))
        schema = rng.choice([
            {"type": "object", "properties": {"a": a, "b": b, "c": c}, "required": rng.sample(["a", "b", "c"], 2), "additionalProperties": False},
            {"type": "array", "items": a, "maxItems": 3}, {"type": "array", "prefixItems": [a, b], "items": c},
            {"anyOf": [a, {"type": "object", "properties": {"only": b}, "required": ["only"]}]},
            {"type": "object", "properties": {"list": {"type": "array", "items": {"type": "object", "properties": {"x": a, "y": b}, "required": ["y"]}}}},
            {"type": "object", "additionalProperties": a},
            {"$defs": {"one": a, "two": {"type": "array", "items": {"$ref": "#/$defs/one"}, "minItems": 1}}, "type": "object",
             "properties": {"p": {"$ref": "#/$defs/one"}, "q": {"$ref": "#/$defs/two"}}, "required": ["q"]},
        ])
        reply = pipe.ask(schema=schema, texts=20)
        if "error" in reply:
            check_refusal(schema, reply)
            refused += 1
            continue
        checked += check_texts(schema, DRAFTS["draft2020-12"], reply)
    tell(f"{checked} texts of nested schemas valid, {refused} schemas refused")
    assert refused < checked / 20


# Every keyword of drafts 4 to 2020-12 that narrows: a schema with it is compiled, or refused by its name.
SUPPORTED = {"type": "string", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False, "items": {"type": "null"},
             "prefixItems": [{"type": "null"}], "minItems": 1, "maxItems": 1, "minLength": 1, "maxLength": 1, "pattern": "a", "minimum": 1, "maximum": 1,
             "exclusiveMinimum": 1, "exclusiveMaximum": 1, "enum": [1], "const": 1, "anyOf": [{"type": "null"}], "oneOf": [{"type": "null"}],
             "allOf": [{"type": "null"}], "$ref": "#/$defs/x"}
ANNOTATIONS = {"title": "t", "description": "d", "default": 1, "examples": [1], "$comment": "c", "$schema": "s", "$id": "i", "deprecated": True,
               "readOnly": True, "writeOnly": True, "contentEncoding": "base64", "contentMediaType": "x/y", "contentSchema": {}, "definitions": {},
               "$vocabulary": {}, "discriminator": {}, "x-anything": 1, "uniqueItems": False, "format": "unheard-of"}
REFUSED = {"not": {}, "if": {}, "then": {}, "else": {}, "dependentRequired": {"a": ["b"]}, "dependentSchemas": {"a": {}}, "dependencies": {"a": ["b"]},
           "patternProperties": {"a": {}}, "propertyNames": {"maxLength": 1}, "minProperties": 1, "maxProperties": 1, "contains": {}, "minContains": 1,
           "maxContains": 1, "unevaluatedItems": False, "unevaluatedProperties": False, "uniqueItems": True, "multipleOf": 2, "additionalItems": False,
           "$dynamicRef": "#a", "$recursiveRef": "#"}


@pytest.mark.parametrize("keyword", SUPPORTED)
def test_supported_keywords_narrow(pipe, keyword):
    """Not taken for an annotation: something that passes without the keyword does not with it."""
    texts = ["null", "1", "2", "0.5", "[]", "[null]", "[1]", "[null,null]", '""', '"b"', '"bb"', "{}", '{"a":1}', '{"b":1}', "true", "-1", "\"a\""]
    free = pipe.ask(schema={"$defs": {"x": {"type": "null"}}}, accepts=texts)["accepts"]
    bound = pipe.ask(schema={"$defs": {"x": {"type": "null"}}, keyword: SUPPORTED[keyword]}, accepts=texts)
    assert all(free) and "error" not in bound, bound
    assert not all(bound["accepts"]) and any(bound["accepts"])


@pytest.mark.parametrize("keyword", REFUSED)
def test_refused_keywords_are_named(pipe, keyword):
    for schema in ({keyword: REFUSED[keyword]}, {"type": "object", "properties": {"p": {"type": "array", "items": {keyword: REFUSED[keyword]}}}}):
        reply = pipe.ask(schema=schema, texts=1)
        assert reply.get("status") == "unsupported" and keyword in reply["error"], reply


def test_annotations_change_nothing(pipe):
    plain = pipe.ask(schema={"type": "integer"}, texts=0)
    for keyword, value in ANNOTATIONS.items():
        reply = pipe.ask(schema={"type": "integer", keyword: value}, texts=0)
        assert reply == plain, (keyword, reply)
