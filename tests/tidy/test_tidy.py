"""The tree's own rules as tests: who includes whom, sizes, banned calls, headers that stand alone,
documents that name real files. Each rule is also shown something that breaks it."""
import os
import re
import subprocess
import sys

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.dirname(__file__))
import rules  # noqa: E402


def tracked():
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                         capture_output=True, text=True).stdout
    return [f for f in out.split("\n") if f and os.path.exists(os.path.join(ROOT, f))]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as f:
        return f.read()


FILES = tracked()
SOURCES = [f for f in FILES if f.endswith((".c", ".h", ".cu", ".cuh"))
           and any(f.startswith(p + "/") for p in rules.PRODUCTION)]


def room_of(path):
    best = ""
    for folder in rules.INCLUDES:
        if path.startswith(folder + "/") and len(folder) > len(best):
            best = folder
    return best


def include_errors(path, text):
    errors = []
    for quoted, angled in re.findall(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', text, re.M):
        if quoted:
            allowed = rules.INCLUDES[room_of(path)]
            if not any(quoted.startswith(prefix) for prefix in allowed):
                errors.append(f'{path} may not include "{quoted}"')
        elif angled in rules.LIBRARY_HEADERS:
            folders = rules.LIBRARY_HEADERS[angled]
            if not any(path.startswith(folder + "/") for folder in folders):
                errors.append(f"{path} may not include <{angled}>")
    return errors


def strip_comments(text):
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


def call_errors(path, text):
    errors = []
    code = strip_comments(text)
    banned = dict(rules.BANNED_CALLS)
    if os.path.basename(path) not in rules.EXIT_ALLOWED:
        banned["exit"] = "only main.c exits"
    if not any(path.startswith(p) for p in rules.GETENV_ALLOWED):
        banned["getenv"] = "options come through common/config.h"
    for call, why in banned.items():
        for match in re.finditer(r"(?<![\w.>])" + call + r"\s*\(", code):
            line = code.count("\n", 0, match.start()) + 1
            errors.append(f"{path}:{line}: {call}(): {why}")
    return errors


def function_sizes(text):
    """(name, lines) of each function: a definition's brace stands alone in column 0."""
    lines = text.split("\n")
    start = None
    for i, line in enumerate(lines):
        if line == "{":
            start = i
        elif line.startswith("}") and start is not None:
            name = next((re.match(r".*?(\w+)\(", l).group(1) for l in reversed(lines[:start])
                         if re.match(r".*?(\w+)\(", l)), "?")
            yield name, i - start + 1
            start = None


def test_includes_follow_the_table():
    errors = [e for f in SOURCES for e in include_errors(f, read(f))]
    assert not errors, "\n".join(errors)


@pytest.mark.parametrize("path,line", [
    ("router/x.c", '#include "worker/sched/radix.h"'),
    ("worker/sched/x.c", '#include "kernels/ops.h"'),
    ("worker/engine/x.c", '#include "worker/sched/radix.h"'),
    ("common/x.c", '#include "proto/frames.h"'),
    ("worker/x.c", "#include <zmq.h>"),
    ("worker/x.c", "#include <uv.h>"),
    ("kernels/cpu/x.c", "#include <cuda_runtime.h>"),
])
def test_include_rule_catches(path, line):
    assert include_errors(path, line + "\n")


def test_banned_calls():
    errors = [e for f in SOURCES if not f.endswith((".cu", ".cuh")) for e in call_errors(f, read(f))]
    assert not errors, "\n".join(errors)


def test_banned_rule_catches():
    assert call_errors("router/x.c", "void f(void) { strcpy(a, b); }")
    assert call_errors("router/x.c", "void f(void) { exit(1); }")
    assert not call_errors("router/main.c", "int main(void) { exit(1); }")
    assert not call_errors("router/x.c", "/* strcpy(a, b) */ void f(void) { g(\"strcpy(\"); }")


def test_file_sizes():
    errors = []
    for f in SOURCES:
        limit = rules.LINES_H_MAX if f.endswith(".h") else rules.LINES_C_MAX
        lines = read(f).count("\n")
        if lines > limit:
            errors.append(f"{f}: {lines} lines, at most {limit}")
    assert not errors, "\n".join(errors)


def test_function_sizes():
    errors = []
    for f in SOURCES:
        for name, lines in function_sizes(read(f)):
            if lines > rules.FUNCTION_LINES_MAX:
                errors.append(f"{f}: {name} has {lines} lines, at most {rules.FUNCTION_LINES_MAX}")
    assert not errors, "\n".join(errors)


def test_function_size_rule_catches():
    body = "int f(void)\n{\n" + "    x();\n" * 200 + "}\n"
    assert list(function_sizes(body)) == [("f", 202)]


def test_headers_stand_alone():
    import shlex
    flags = shlex.split(subprocess.run(
        ["pkg-config", "--cflags", "jansson", "libuv", "libh2o"], check=True, capture_output=True,
        text=True).stdout)
    errors = []
    for f in SOURCES:
        if f.endswith(".h") and not f.endswith(rules.TEMPLATE_HEADERS):
            done = subprocess.run(
                ["gcc", "-std=gnu11", "-Wno-psabi", "-fsyntax-only", "-Wall", "-Wextra", "-Wno-unused-parameter",
                 "-Wno-pragma-once-outside-header", "-D_GNU_SOURCE", "-DH2O_USE_LIBUV=1", "-I", ROOT, *flags, "-x",
                 "c", os.path.join(ROOT, f)], capture_output=True, text=True)
            if done.returncode:
                errors.append(f + "\n" + done.stderr[:400])
    assert not errors, "\n".join(errors)


PAGE = [f for f in FILES if f.startswith("router/web/ui/") and not f.endswith(".svg")]


def page_errors(path, text):
    errors = []
    if text.count("\n") > rules.PAGE_LINES_MAX:
        errors.append(f"{path}: more than {rules.PAGE_LINES_MAX} lines")
    for number, line in enumerate(text.split("\n"), 1):
        code = re.sub(r"(^|\s)//.*", "", line) if path.endswith(".js") else line
        if len(line) > rules.PAGE_COLUMNS_MAX:
            errors.append(f"{path}:{number}: more than {rules.PAGE_COLUMNS_MAX} columns")
        errors += [f"{path}:{number}: {why}" for word, why in rules.PAGE_BANNED.items() if re.search(word, code)]
    return errors


def test_page_rules():
    assert len(PAGE) > 8
    errors = [e for f in PAGE for e in page_errors(f, read(f))]
    errors += [f"{f}: the first line says what the file is for" for f in PAGE
               if f.endswith((".js", ".css")) and not re.match(r"(//|/\*) [\w-]+ - ", read(f))]
    assert not errors, "\n".join(errors)


@pytest.mark.parametrize("line", [
    "node.innerHTML = text;", "eval(text)", 'import { x } from "https://cdn.example/x.js";', "x = new Function(text)",
    '<p style="color: red">', '<button onclick="go()">', "x\n" * 400, "y" * 300, "console.log(1)",
])
def test_page_rules_catch(line):
    assert page_errors("router/web/ui/x.js", line)


def test_no_struct_typedefs():
    errors = [f for f in SOURCES if not f.endswith((".cu", ".cuh"))
              and re.search(r"^typedef\s+(struct|enum|union)\b(?!.*\(\*)", strip_comments(read(f)), re.M)]
    assert not errors, "\n".join(errors)


def test_formatted():
    """By .clang-format, all but generated tables; `clang-format -i FILE` mends it."""
    files = [f for f in FILES if f.endswith((".c", ".h", ".cu", ".cuh")) and not f.endswith("_tables.h")]
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", *files], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, "\n".join(line for line in done.stderr.split("\n") if "error:" in line)


def test_first_line_says_what_a_header_is_for():
    errors = [f for f in SOURCES if f.endswith(".h")
              and not re.match(r"/\* [\w-]+ - ", read(f))]
    assert not errors, "first line is `/* name - purpose`:\n" + "\n".join(errors)


def test_every_c_file_has_a_test_that_names_its_room():
    """Mirrors path for path, loosely: each folder with sources has unit tests."""
    for folder in ("common", "proto", "kernels", "worker/sched", "worker/model", "worker/engine",
                   "router", "router/jinja", "router/text", "router/grammar", "router/api", "router/web"):
        tests = [f for f in FILES if f.startswith(f"tests/{folder}/test_") and f.endswith(".c")]
        assert tests, f"no tests/{folder}/test_*.c"


def test_documents_name_real_files():
    errors = []
    suffixes = r"(?:c|h|py|sh|md|cu|json|txt)"
    for doc in [f for f in FILES if f.endswith(".md")]:
        for name in re.findall(r"`((?:common|proto|router|worker|kernels|deploy|tests|bench|docs)/[\w./-]+\."
                               + suffixes + r")`", read(doc)):
            if name == "docs/CONFIG.md" or os.path.exists(os.path.join(ROOT, name)):
                continue
            errors.append(f"{doc} names {name}")
    assert not errors, "\n".join(errors)


def test_nobodys_machine():
    """No path of one machine and no registry host in any file."""
    pattern = re.compile(r"/(?:root|home/\w+)/|/work/(?:main|shared)|pypi\.org|files\.pythonhosted|deb\.debian\.org")
    errors = []
    for f in FILES:
        if f in ("LICENSE", "tests/tidy/test_tidy.py") or f.endswith((".xz", ".bin", ".png")):
            continue
        for i, line in enumerate(read(f).split("\n"), 1):
            if pattern.search(line):
                errors.append(f"{f}:{i}: {line.strip()[:100]}")
    assert not errors, "\n".join(errors)


def test_no_large_files():
    errors = [f for f in FILES if os.path.getsize(os.path.join(ROOT, f)) > 600_000]
    assert not errors, "\n".join(errors)
