"""The seeded part of the template interpreter's differential test that runs every time; template_fuzz.py by hand is the whole."""
import os
import subprocess
import sys

import pytest
from test_tokenizer import FOLDERS, ROOT

PIPE = os.path.join(ROOT, os.environ.get("MSGL_BUILD", "build"), "tests", "template_pipe")
SEED, COUNT = 30_003, 2000


def run(*templates):
    return subprocess.run([sys.executable, "-W", "ignore", os.path.join(ROOT, "tests", "golden", "template_fuzz.py"), "--pipe", PIPE,
                           "--count", str(COUNT), "--seed", str(SEED), *templates], capture_output=True, text=True, timeout=500)


def test_same_as_jinja2():
    folders = [f for f in FOLDERS.values() if os.path.exists(os.path.join(f, "tokenizer_config.json"))]
    if not folders:
        pytest.skip("there is no folder with a template")
    done = run(*folders)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert str(COUNT) in done.stdout
