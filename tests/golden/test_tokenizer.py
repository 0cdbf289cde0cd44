"""The tokenizer beside the `tokenizers` package: a small seeded part every time, 200,000 strings a
tokenizer when marked long. MSGL_BUILD names the build folder (default: build/)."""
import os
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "golden"))
tokenizer_fuzz = pytest.importorskip("tokenizer_fuzz", reason="the package tokenizers is not installed")
import tokenizer_format  # noqa: E402  needs the package, too

PIPE = os.path.join(ROOT, os.environ.get("MSGL_BUILD", "build"), "tests", "tokenizer_pipe")
HOME = os.environ.get("MSGL_HOME", os.path.expanduser("~/.cache/msgl"))
FOLDERS = {
    "smollm2": os.environ.get("MSGL_MODEL", os.path.join(HOME, "models", "SmolLM2-135M-Instruct")),
    "qwen3": os.path.join(ROOT, "..", "shared", "tokenizers", "qwen3"),
    "llama3_1": os.path.join(ROOT, "..", "shared", "tokenizers", "llama3_1"),
}
SEED, COUNT, LONG_COUNT = 20_001, 2500, 200_000


def check(name, seed, count, tell):
    folder = FOLDERS[name]
    if not any(os.path.exists(os.path.join(folder, f)) for f in ("tokenizer.json", "tokenizer.json.xz")):
        pytest.skip(f"{name}: there is no tokenizer in {folder}")
    assert tokenizer_fuzz.check(folder, PIPE, seed, count) == 0
    tell(f"{count} texts, encoded and decoded in pieces, 0 differ")


@pytest.mark.parametrize("name", FOLDERS)
def test_same_as_the_package(name, tell):
    check(name, SEED, COUNT, tell)


@pytest.mark.long
@pytest.mark.parametrize("name", FOLDERS)
def test_same_as_the_package_at_length(name, tell):
    check(name, 1, LONG_COUNT, tell)


def test_small_tokenizers_same_as_the_package(tell):
    assert tokenizer_fuzz.check_parts(PIPE, SEED, 40) == 0
    tell("40 texts through each tokenizer of tokenizer_vectors.json, 0 differ")


def test_random_files_same_as_the_package(tell):
    bad, counts = tokenizer_format.check(PIPE, SEED, range(140), strings=10)
    assert bad == 0
    assert counts["files"] > 110 and counts["encode"] > 2000, counts
    tell(f"{counts['files']} random files, {counts['encode']} texts encoded, {counts['decode']} decoded, 0 differ")
