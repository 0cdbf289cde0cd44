"""bench_send_loop: every stream gets its events on time, and the CSV adds up."""
import csv
import os
import subprocess

from conftest import BUILD


def test_counts():
    made = subprocess.run([os.path.join(BUILD, "bench_send_loop"), "0.2", "1"], capture_output=True, text=True, check=True, timeout=60)
    rows = list(csv.DictReader(made.stdout.splitlines()))
    assert [row["streams_a_burst"] for row in rows] == ["1", "8", "64"]
    for row in rows:
        assert int(row["sends"]) == 64 * 20  # one each 10 ms, late ones too
        assert 0 < float(row["us_a_send"]) <= float(row["us_a_send_whole"])
        assert abs(float(row["us_a_send"]) * float(row["sends_cpu_s"]) / 1e6 - 1) < 0.01
