"""bench/results: each CSV says where it was measured and has one shape, and its commit is in this history; each plot
is what bench/plot makes of them."""
import csv
import os
import re
import subprocess
import sys
import xml.etree.ElementTree

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
RESULTS = os.path.join(ROOT, "bench", "results")
FLAME = "router.svg"  # of perf's samples, which are not kept


def names(suffix):
    return sorted(f for f in os.listdir(RESULTS) if f.endswith(suffix))


def csv_errors(text):
    lines = text.splitlines()
    rows = list(csv.reader(line for line in lines if not line.startswith("#")))
    errors = [] if re.search(r"\b[0-9a-f]{7}\b", text) else ["no commit"]
    if len(rows) < 2 or len(set(rows[0])) < len(rows[0]) or not all(re.fullmatch(r"[a-z]\w*", name) for name in rows[0]):
        return errors + ["the first line names the columns, figures follow"]
    errors += [f"{','.join(row)}: {len(row)} fields of {len(rows[0])}" for row in rows[1:] if len(row) != len(rows[0])]
    if not any(re.fullmatch(r"-?\d+(\.\d+)?", field) for row in rows[1:] for field in row):
        errors.append("no figures")
    return errors


@pytest.mark.parametrize("name", names(".csv"))
def test_csv(name):
    with open(os.path.join(RESULTS, name), encoding="utf-8") as f:
        assert not csv_errors(f.read())


@pytest.mark.parametrize("text", ["# commit 0123abc\na,b\n1\n", "a,b\n1,2\n", "# commit 0123abc\n1,2\n3,4\n",
                                  "# commit 0123abc\na,b\n", "# commit 0123abc\na,b\nx,y\n"])
def test_csv_rule_catches(text):
    assert csv_errors(text)


def commits_in(text):
    """Words of 7 to 12 hexadecimal digits, some letters among them; not those of other programs ("mini-sglang 20fcd7f")."""
    return {word for before, word in re.findall(r"([\w-]*) ?\b((?=\w*[a-f])(?=\w*\d)[0-9a-f]{7,12})\b", text)
            if before != "mini-sglang"}


def git(*words):
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()


def lost_commits(text, history):
    return sorted(word for word in commits_in(text) if not any(commit.startswith(word) for commit in history))


def test_commits_are_in_the_history():
    """Rebasing gives commits new names: whoever wants to measure again must find them."""
    if git("rev-parse", "--is-shallow-repository") != ["false"]:
        pytest.skip("no git repository, or a shallow one")
    history = git("rev-list", "HEAD")
    lost, found = [], set()
    for name in [os.path.join("..", "..", "docs", "PERFORMANCE.md"), *names(".csv")]:
        with open(os.path.join(RESULTS, name), encoding="utf-8") as f:
            text = f.read()
        lost += [f"{os.path.basename(name)}: {word}" for word in lost_commits(text, history)]
        found |= commits_in(text)
    assert len(found) > 20
    if len(lost_commits(" ".join(found), history)) == len(found):
        pytest.skip("a repository whose history begins anew")
    assert not lost, lost


@pytest.mark.parametrize("text,lost", [("commit 0123abc", ["0123abc"]), ("(before 4b8907a)", []), ("1234567 B, 16.3 ms", []),
                                       ("mini-sglang 20fcd7f, SGLang 0.5.14", []), ("0123abc,a\n4b8907a,b\n", ["0123abc"])])
def test_lost_commits(text, lost):
    assert lost_commits(text, ["4b8907a0d5d8ad6f4d0ad7f1e4b4f0a3e1d2c3b4"]) == lost


def test_plots_are_made_of_the_csv(tmp_path):
    """`bench/plot` after a new CSV mends it."""
    subprocess.run([sys.executable, os.path.join(ROOT, "bench", "plot"), "--out", str(tmp_path)], check=True)
    assert sorted([*os.listdir(tmp_path), FLAME]) == names(".svg")
    with open(os.path.join(ROOT, "docs", "PERFORMANCE.md"), encoding="utf-8") as f:
        document = f.read()
    for name in os.listdir(tmp_path):
        made, kept = (tmp_path / name).read_bytes(), open(os.path.join(RESULTS, name), "rb").read()
        assert made == kept, f"{name} is not what bench/plot makes"
        xml.etree.ElementTree.fromstring(kept)
        assert len(kept) < 20_000 and f"(../bench/results/{name})" in document, name


def test_a_plot_follows_its_csv(tmp_path):
    """A figure that changes is seen in the picture."""
    (tmp_path / "results").mkdir()
    for name in ("bench/plot", "bench/results/route.csv", "bench/results/others.csv"):
        with open(os.path.join(ROOT, name), encoding="utf-8") as f:
            text = f.read().replace(",0.363,", ",0.3111,")
        (tmp_path / name.removeprefix("bench/")).write_text(text, encoding="utf-8")
    subprocess.run([sys.executable, str(tmp_path / "plot"), "route_hits"], check=True)
    assert ">31.1 %<" in (tmp_path / "results" / "route_hits.svg").read_text(encoding="utf-8")
