"""What a real SLURM cluster does to jobs: memory and time limits, and which GPUs it gives."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import slurm_cluster as cluster
from llamanas.slurm import cancel_leftovers
from workflow_runner import ROOT


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts Snakemake with the profile for SLURM in the background; nothing of it is left after the test."""
    runs = []

    def begin(directory: Path, log: Path, *arguments: str, snakefile: str = "Snakefile") -> subprocess.Popen:
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            str(ROOT / snakefile),
            "--directory",
            str(directory),
        ]
        with log.open("a") as stream:
            run = subprocess.Popen(
                [*command, *cluster.PROFILE, *arguments], stdout=stream, stderr=stream, cwd=directory
            )
        runs.append((run, directory))
        return run

    yield begin
    for run, directory in runs:
        run.kill()
        run.wait()
        cancel_leftovers(directory)


def end_now(number: str) -> None:
    """Let a running job reach its time limit at once."""
    subprocess.run(["scontrol", "update", f"jobid={number}", "EndTime=now"], check=True)


def test_limits_and_gpus(start, tmp_path):
    log = tmp_path / "run.log"
    run = start(tmp_path, log, snakefile="tests/slurm/minimal.smk")
    cluster.wait_for(lambda: (tmp_path / "time.part").exists())
    end_now(next(iter(cluster.running("time"))))
    assert run.wait(300) == 0, log.read_text()
    said = log.read_text()
    assert (tmp_path / "memory.txt").read_text().split() == ["500", "1000"], said
    assert "SLURM status is: 'TIMEOUT'" in said and (tmp_path / "time.txt").exists()

    given = [(tmp_path / f"gpu-{number}.txt").read_text().strip() for number in (1, 2)]
    assert {*given} == {"0", "1"}, "two jobs of a node share a GPU"
    for number, device in enumerate(given, 1):
        assert f"GRES=gpu:fake:1(IDX:{device})" in (tmp_path / f"gpu-{number}.job").read_text()
    assert (tmp_path / "gpus.txt").read_text().strip() == "0,1"
    assert "NumNodes=1 " in (tmp_path / "gpus.job").read_text()
