"""The router's memory does not grow with the calls that it has served: bench/router_cost --growth for an hour (MSGL_GROWTH_MINUTES),
8 sim workers, 100 clients, calls of all lengths. It fails above 4 MiB after the start: in an hour 2 to 3 bytes a call."""
import csv
import importlib.machinery
import importlib.util
import os
import subprocess
import sys

import pytest
from conftest import BUILD, MODEL, ROOT

SCRIPT = os.path.join(ROOT, "bench", "router_cost")
MAX_MIB = 4


def growth_mib(rows):
    loader = importlib.machinery.SourceFileLoader("router_cost", SCRIPT)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("router_cost", loader))
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    sys.path.insert(0, os.path.dirname(SCRIPT))
    loader.exec_module(module)
    sys.path.pop(0)
    sys.dont_write_bytecode = before
    return module.growth_mib(rows)


def test_a_leak_is_told_from_warming_up():
    hour = [(10 * i, 5000 * i, 23 + min(i, 6) * 0.7 + i % 3 * 0.4) for i in range(360)]
    assert abs(growth_mib(hour)) < 1
    assert growth_mib([(s, calls, mib + calls * 8 / 2**20) for s, calls, mib in hour]) > MAX_MIB
    assert growth_mib([(s, calls, mib + 6 * (s > 3000)) for s, calls, mib in hour]) > MAX_MIB


def test_the_recorded_run_is_flat():
    with open(os.path.join(ROOT, "bench", "results", "router_growth.csv"), encoding="ascii") as f:
        rows = list(csv.DictReader(line for line in f if not line.startswith("#")))
    assert growth_mib([tuple(map(float, row.values())) for row in rows]) <= MAX_MIB


@pytest.mark.long
@pytest.mark.timeout(2 * 3600)
def test_an_hour_of_calls():
    minutes = os.environ.get("MSGL_GROWTH_MINUTES", "60")
    done = subprocess.run([SCRIPT, "--growth", minutes, "--growth-max", str(MAX_MIB), "--build", BUILD, "--model", MODEL],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
