"""The benchmark script of deployed networks."""

import runpy
import sys
from pathlib import Path

import pyarrow.parquet as pq

SCRIPT = Path(__file__).parents[3] / "benchmarks/deployment.py"


def test_random_shape_is_timed_and_rows_replace_older_ones(tmp_path, monkeypatch):
    options = ["--device", "cpu", "--shape", "tiny", "--batches", "1,2", "--contexts", "8", "--repeats", "2"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *options, "--threads", "1", "--results", str(tmp_path)])
    for _ in range(2):
        runpy.run_path(str(SCRIPT), run_name="__main__")
    rows = pq.read_table(tmp_path / "speed.parquet").to_pylist()
    assert [(row["pick"].split(", ")[-1], row["batch"]) for row in rows] == [
        ("full", 1), ("full", 2), ("three_quarters_of_the_layers", 1), ("three_quarters_of_the_layers", 2)
    ]  # fmt: skip
    for row in rows:
        assert row["size_ratio"] == 1 or 1.3 < row["size_ratio"] < 1.5
        assert row["prefill_low"] <= row["prefill_speedup"] <= row["prefill_high"]
        slow = row["pick"].endswith("layers") and min(row["prefill_low"], row["decode_low"]) <= 1
        assert row["smaller_not_faster"] == slow and "--shape tiny" in row["command"]
