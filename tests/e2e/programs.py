"""Environments of other people's programs, one each under MSGL_HOME/programs, made from programs.txt when first asked for."""
import os
import shutil
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = os.path.join(os.environ.get("MSGL_HOME", os.path.expanduser("~/.cache/msgl")), "programs")


def pins():
    with open(os.path.join(HERE, "programs.txt"), encoding="utf-8") as f:
        return dict(line.strip().split(": ", 1) for line in f if ": " in line and not line.startswith("#"))


def program(name):
    """The folder with the program's executables."""
    folder, wanted = os.path.join(PROGRAMS, name), pins()[name]
    mark = os.path.join(folder, "made-for")
    if not os.path.exists(mark) or open(mark, encoding="utf-8").read() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        done = subprocess.run([os.path.join(folder, "bin", "pip"), "install", "-q", "--disable-pip-version-check", *wanted.split()],
                              capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"{name} cannot be installed here: {done.stderr.strip().splitlines()[-1:]}")
        with open(mark, "w", encoding="utf-8") as f:
            f.write(wanted)
    return os.path.join(folder, "bin")
