"""What a run cost, from benchmark files and logs as Snakemake and jobs write them."""

import os
from pathlib import Path

import pytest

from llamanas.report.costs import read_costs

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def job(logs: Path, name: str, seconds: float, end: float, memory: str = "100.0", devices: str = "cpu") -> None:
    path = logs / f"{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEADER}{seconds}\t0:00:01\t{memory}\t1\t1\t1\t1\t1\t1\t{memory}\n")
    os.utime(path, (end, end))
    path.with_suffix(".log").write_text(f"something\ncomputing on {devices} with 2 threads\n")


def test_stages_are_summed_in_the_order_of_their_beginnings(tmp_path: Path) -> None:
    job(tmp_path, "search/task/0", 10, 1030, "300.5")
    job(tmp_path, "search/task/1", 20, 1035, "200", "cuda:0, cuda:1")
    job(tmp_path, "finetune", 5, 1005, "NA", "cuda:0")
    (finetune, search), busy = read_costs(tmp_path)
    assert (finetune.rule, finetune.jobs, finetune.seconds, finetune.memory_mb) == ("finetune", 1, 5, None)
    assert finetune.gpu_hours == pytest.approx(5 / 3600)
    assert (search.rule, search.jobs, search.seconds, search.memory_mb) == ("search", 2, 30, 300.5)
    assert search.cpu_seconds == 500.5 and search.gpu_hours == pytest.approx(2 * 20 / 3600)
    assert busy == pytest.approx(5 + 20)  # the two overlap, and nothing ran for ten seconds


def test_no_logs_are_no_costs(tmp_path: Path) -> None:
    assert read_costs(tmp_path / "none") == ([], 0.0)
