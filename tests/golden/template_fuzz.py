"""Differential test of the template interpreter: our text beside that of Python's jinja2.

    python tests/golden/template_fuzz.py --pipe build/tests/template_pipe [--count N] [--seed S]
                                         [--only KIND] [--index I] [--transformers] [TEMPLATE...]

TEMPLATE is a model folder with a tokenizer_config.json (or chat_template.jinja), or a .jinja file.
Kinds of cases, in turn:
    chat     a generated conversation through one of the TEMPLATEs (system, tools, multi-turn, thinking)
    family   a conversation with tools and documents through one of template_families.FAMILIES
    snippet  one of template_corpus.SNIPPETS with random variables
    expr     a random expression
    stmt     a random nesting of statements
    space    tags and white space at random: trim_blocks, lstrip_blocks, - and +, raw, comments
Each case is made from (seed, index) alone. Ours must succeed where jinja2 does, with the same text,
and fail where it fails. What may fail on our side alone is listed in forgiven(): integers beyond 64 bits,
slices of constants that cannot be sliced (jinja2 folds them to undefined), urlencode of pairs. Needs jinja2==3.1.6.
--transformers: the reference of chats is transformers' own function, not what stands for it here.
"""
import argparse
import datetime
import functools
import json
import os
import random
import struct
import subprocess
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import template_corpus as corpus  # noqa: E402
import template_families as families  # noqa: E402

KINDS = ("chat", "family", "snippet", "expr", "stmt", "space")


class Generation(jinja2.ext.Extension):
    """{% generation %} ... {% endgeneration %}: its body, in a scope of its own."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_run"), [], [], body).set_lineno(line)

    def _run(self, caller):
        return caller()


class Namespace(jinja2.utils.Namespace):
    """As in the interpreter, no name may begin with an underscore."""

    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        values = dict(*args, **kwargs)
        for name in values:
            Namespace.check(name)
        jinja2.utils.Namespace.__init__(self, values)

    def __setitem__(self, name, value):
        Namespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError("underscore")


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["namespace"] = Namespace
    env.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return env


# ---- what chat_template.c does around the render, said again in Python

TAG = "CONTINUE_FINAL_MESSAGE_TAG "


@functools.lru_cache(maxsize=200)
def loops_over_content(env, source):
    """Does a loop run over .content, directly or through a variable set from it?"""
    def content(node, names):
        while isinstance(node, jinja2.nodes.Filter):
            node = node.node
        if isinstance(node, jinja2.nodes.Getattr):
            return node.attr == "content"
        if isinstance(node, jinja2.nodes.Getitem):
            return isinstance(node.arg, jinja2.nodes.Const) and node.arg.value == "content"
        return isinstance(node, jinja2.nodes.Name) and node.name in names

    tree, names = env.parse(source), set()
    for node in tree.find_all(jinja2.nodes.Assign):
        if isinstance(node.target, jinja2.nodes.Name) and content(node.node, ()):
            names.add(node.target.name)
    return any(content(node.iter, names) for node in tree.find_all(jinja2.nodes.For))


@functools.lru_cache(maxsize=200)
def compiled(env, source):
    return env.from_string(source)


def alias(message):
    """A message's reasoning under each of its three names."""
    names = ("reasoning_content", "thinking", "reasoning")
    reasoning = next((message[n] for n in names if message.get(n) is not None), None)
    return {"thinking": reasoning, **message, "reasoning_content": reasoning} if reasoning is not None else message


def prepare(message, parts):
    """What the API does before: parts of text become one, arguments in JSON become objects."""
    message = dict(message)
    content = message.get("content")
    if isinstance(content, list) and not parts and all(
            isinstance(p, dict) and p.get("type", "text") == "text" and isinstance(p.get("text"), str)
            for p in content):
        message["content"] = "\n".join(p["text"] for p in content)
    calls = []
    for call in message.get("tool_calls") or []:
        function = call.get("function")
        if isinstance(function, dict) and isinstance(function.get("arguments"), str):
            try:
                value = json.loads(function["arguments"])
            except ValueError:
                value = None
            if isinstance(value, dict):
                call = {**call, "function": {**function, "arguments": value}}
        calls.append(call)
    if calls:
        message["tool_calls"] = calls
    return message


def reference_chat(env, source, chat):
    if chat["add_generation_prompt"] and chat["continue_final_message"]:
        raise ValueError("both")
    messages = [alias(prepare(m, loops_over_content(env, source))) for m in chat["messages"]]
    if chat["continue_final_message"]:
        content = messages[-1].get("content") if messages else None
        if isinstance(content, list):
            content = [dict(p) for p in content]
            part = next(p for p in reversed(content) if isinstance(p.get("text"), str))
            last = part["text"]
            part["text"] += TAG
            messages[-1]["content"] = content
        else:
            last = content
            messages[-1]["content"] = content + TAG
    text = compiled(env, source).render(**{
        "messages": messages, "tools": chat["tools"], "documents": None,
        "add_generation_prompt": chat["add_generation_prompt"], **(chat["kwargs"] or {})})
    if chat["continue_final_message"]:
        if last.strip() not in text:
            raise ValueError("the final message does not appear")
        at = text.rindex(TAG.strip())
        text = text[:at] if text[at:at + len(TAG)] == TAG else text[:at].rstrip()
    return text


def transformers_chat(env, source, chat):
    from transformers.utils.chat_template_utils import render_jinja_template
    if chat["add_generation_prompt"] and chat["continue_final_message"]:
        raise ValueError("both")
    messages = [prepare(m, loops_over_content(env, source)) for m in chat["messages"]]
    kwargs = dict(chat["kwargs"] or {})
    return render_jinja_template([messages], tools=chat["tools"], documents=kwargs.pop("documents", None), chat_template=source,
                                 add_generation_prompt=chat["add_generation_prompt"],
                                 continue_final_message=chat["continue_final_message"], **kwargs)[0][0]


class Pipe:
    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, request):
        data = json.dumps(request).encode()
        self.process.stdin.write(struct.pack("<I", len(data)) + data)
        self.process.stdin.flush()
        head = self.process.stdout.read(5)
        if len(head) < 5:
            raise SystemExit("the pipe died on: " + json.dumps(request)[:2000])
        status, length = struct.unpack("<BI", head)
        return status, self.process.stdout.read(length).decode("utf-8", "replace")


def load_template(path):
    if os.path.isdir(path):
        single = os.path.join(path, "chat_template.jinja")
        if os.path.exists(single):
            return open(single, encoding="utf-8").read()
        config = json.load(open(os.path.join(path, "tokenizer_config.json"), encoding="utf-8"))
        return config["chat_template"]
    return open(path, encoding="utf-8").read()


def make_case(kind, rng, templates):
    if kind == "chat":
        return {"template": rng.choice(templates), "chat": corpus.chat(rng)}
    if kind == "family":
        name = rng.choice(sorted(families.FAMILIES))
        return {"family": name, "template": families.FAMILIES[name][1], "chat": families.chat(rng, corpus)}
    make = {"snippet": corpus.snippet, "expr": corpus.expression_template,
            "stmt": corpus.statement_template, "space": corpus.space_template}[kind]
    return {"template": make(rng), "vars": corpus.variables(rng)}


def reference(env, case, chat_of=reference_chat):
    try:
        if "chat" in case:
            return True, chat_of(env, case["template"], case["chat"])
        return True, env.from_string(case["template"]).render(**case["vars"])
    except (MemoryError, RecursionError):
        return None, "resources"
    except Exception as error:  # whatever jinja2 or Python raises: ours must fail too
        return False, f"{type(error).__name__}: {error}"


def forgiven(ours, theirs, case):
    """Differences that are by design."""
    ok, text = ours
    if not ok and ("64 bits" in text or "complex numbers" in text or
                   "cannot be sliced" in text or "urlencode of pairs" in text):
        return True
    if theirs[0] and ("generator object" in theirs[1] or "reverseiterator" in theirs[1] or
                      " object at 0x" in theirs[1] or "built-in method" in theirs[1] or
                      "<class " in theirs[1] or "<function" in theirs[1]):
        return True
    return theirs[0] and len(theirs[1]) > 40_000_000


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--pipe", required=True)
    args.add_argument("--count", type=int, default=3000)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--only", choices=KINDS)
    args.add_argument("--index", type=int)
    args.add_argument("--transformers", action="store_true")
    args.add_argument("--show", type=int, default=20, help="failures to print")
    args.add_argument("templates", nargs="*")
    args = args.parse_args()
    env, pipe = environment(), Pipe(args.pipe)
    templates = [load_template(path) for path in args.templates]
    templates += corpus.CHAT_TEMPLATES
    failures, counts, errors = 0, dict.fromkeys(KINDS, 0), 0
    rendered = dict.fromkeys(families.FAMILIES, 0)
    indexes = range(args.count) if args.index is None else [args.index]
    for index in indexes:
        kind = args.only or KINDS[index % len(KINDS)]
        case = make_case(kind, random.Random(f"{args.seed}/{kind}/{index}"), templates)
        theirs = reference(env, case, transformers_chat if args.transformers else reference_chat)
        status, text = pipe.ask(case)
        counts[kind] += 1
        errors += theirs[0] is False
        if "family" in case:
            rendered[case["family"]] += theirs[0] is True
        same = theirs[0] is None or ((status == 0) == theirs[0] and (status or text == theirs[1]))
        if same or forgiven((status == 0, text), theirs, case):
            continue
        failures += 1
        if failures <= args.show:
            print(f"--- {kind} {index}: {json.dumps(case, ensure_ascii=False)[:3000]}")
            print(f"jinja2: {theirs[0]} {theirs[1][:1500]!r}\nours:   {status} {text[:1500]!r}")
    print(f"template_fuzz seed {args.seed}: {sum(counts.values())} cases {counts}, "
          f"{errors} of them errors in jinja2, {failures} differ")
    if any(rendered.values()):
        print("families rendered:", json.dumps(rendered))
    return failures != 0


if __name__ == "__main__":
    sys.exit(main())
