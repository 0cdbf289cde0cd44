"""Speed of our tokenizer beside the `tokenizers` package, one thread each, in one run, as CSV.

    python tests/golden/tokenizer_speed.py --bench build/bench_tokenizer DIR... > FILE.csv

The texts are 1 MB each: English (docstrings of Python's library), code (its sources), and Chinese
(words of Qwen3's vocabulary drawn by rank, with punctuation; skipped without a Qwen3 folder). Both
sides encode the whole text as one call, in turns, and the best of their rounds counts.
Needs tokenizers==0.23.3.
"""
import argparse
import ast
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

import tokenizers  # noqa: E402  reads the variables above

from tokenizer_fuzz import unpacked  # noqa: E402

SIZE = 1_000_000
ROUNDS = 5


def sources():
    root = sysconfig.get_path("stdlib")
    for folder, names, files in sorted(os.walk(root)):
        names[:] = sorted(n for n in names if n not in ("site-packages", "dist-packages", "test", "__pycache__"))
        for name in sorted(files):
            if name.endswith(".py"):
                with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as f:
                    yield f.read()


def filled(parts):
    out, size = [], 0
    for part in parts:
        out.append(part)
        size += len(part.encode())
        if size >= SIZE:
            break
    return "\n".join(out).encode()[:SIZE].decode("utf-8", "ignore")


def docstrings():
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for source in sources():
        try:
            tree = ast.parse(source)
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            text = ast.get_docstring(node) if isinstance(node, kinds) else None
            if text:
                yield text + "\n"


def chinese(folder):
    tokenizer = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    words = []
    for i in range(tokenizer.get_vocab_size()):
        text = tokenizer.decode([i])
        if text and all("\u4e00" <= c <= "\u9fff" for c in text):
            words.append(text)
    rng = random.Random(1)
    weights = [1 / (rank + 20) for rank in range(len(words))]
    while True:
        line = "".join(rng.choices(words, weights, k=rng.randint(2, 9)))
        yield line + rng.choice("，，，。。、；：？！")


def theirs_once(tokenizer, text):
    start = time.perf_counter()
    count = len(tokenizer.encode(text, add_special_tokens=False).ids)
    return time.perf_counter() - start, count


def compare(folder, name, text, bench):
    tokenizer = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt", newline="") as f:
        f.write(text)
        f.flush()
        theirs, ours = [], []
        for _ in range(2):
            took, their_count = min(theirs_once(tokenizer, text) for _ in range(3))
            theirs.append(took)
            row = subprocess.run([bench, folder, f.name, str(ROUNDS)], check=True, text=True,
                                 stdout=subprocess.PIPE).stdout.strip().split(",")
            ours.append((float(row[2]), float(row[3])))
    if int(row[1]) != their_count:
        sys.exit(f"{folder} {name}: {row[1]} tokens, the package has {their_count}")
    size = int(row[0])
    first, best = min(o[0] for o in ours), min(o[1] for o in ours)
    return [name, size, row[1], f"{size / first / 1e6:.2f}", f"{size / best / 1e6:.2f}",
            f"{size / min(theirs) / 1e6:.2f}", f"{min(theirs) / first:.1f}", f"{min(theirs) / best:.1f}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bench", required=True)
    parser.add_argument("dirs", nargs="+")
    args = parser.parse_args()
    folders = {os.path.basename(os.path.normpath(d)): unpacked(d)[0] for d in args.dirs}
    texts = {"english": filled(docstrings()), "code": filled(sources())}
    for name, folder in folders.items():
        if "qwen" in name.lower():
            texts["chinese"] = filled(chinese(folder))
    print("tokenizer,text,bytes,tokens,ours_first_mb_s,ours_best_mb_s,theirs_best_mb_s,ratio_first,ratio_best")
    for name, folder in folders.items():
        for kind, text in texts.items():
            print(",".join(map(str, [name] + compare(folder, kind, text, args.bench))), flush=True)


main()
