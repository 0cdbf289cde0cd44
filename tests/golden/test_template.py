"""The template interpreter beside `jinja2`: a small seeded part every time, 50,000 cases when marked long, and 40,000
conversations through the families' templates beside transformers' own rendering."""
import json
import os
import subprocess
import sys

import pytest
from test_tokenizer import FOLDERS, ROOT

sys.path.append(os.path.join(ROOT, "tests", "e2e"))
from programs import program  # noqa: E402

PIPE = os.path.join(ROOT, os.environ.get("MSGL_BUILD", "build"), "tests", "template_pipe")
SEED, COUNT, LONG_COUNT = 30_003, 2000, 50_000


def run(seed, count, *templates, python=sys.executable):
    return subprocess.run([python, "-W", "ignore", os.path.join(ROOT, "tests", "golden", "template_fuzz.py"), "--pipe", PIPE,
                           "--count", str(count), "--seed", str(seed), *templates], capture_output=True, text=True)


def check(seed, count, tell):
    folders = [f for f in FOLDERS.values() if os.path.exists(os.path.join(f, "tokenizer_config.json"))]
    if not folders:
        pytest.skip("there is no folder with a template")
    done = run(seed, count, *folders)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert str(count) in done.stdout
    tell(done.stdout.splitlines()[0])


def test_same_as_jinja2(tell):
    check(SEED, COUNT, tell)


@pytest.mark.long
def test_same_as_jinja2_at_length(tell):
    check(1, LONG_COUNT, tell)


def families(seed, count, tell, *more, python=sys.executable):
    done = run(seed, count, "--only", "family", *more, python=python)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    rendered = json.loads(done.stdout.split("families rendered: ")[1])
    assert len(rendered) >= 25 and min(rendered.values()) * 500 > count, rendered
    tell(f"{done.stdout.splitlines()[0]}; {len(rendered)} templates, each rendered {min(rendered.values())} times or more")


def test_families(tell):
    families(SEED, 4000, tell)


@pytest.mark.long
def test_families_as_transformers_has_them(tell):
    families(2, 40_000, tell, "--transformers", python=os.path.join(program("transformers"), "python"))
