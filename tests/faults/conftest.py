"""A copy of the finished run, and its jobs as Snakemake plans them, for the scripts to be run one by one."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from rule_runner import jobs_of


@pytest.fixture(scope="module")
def copy(finished, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def jobs(copy) -> dict[str, SimpleNamespace]:
    """The job of each rule that has the most inputs: generation 0 has no archive, the full network no picks."""
    jobs = sorted(jobs_of(copy, copy / "tiny.yaml"), key=lambda job: len(job.input))
    return {job.rule: job for job in jobs}


@pytest.fixture
def job(jobs, rule, monkeypatch) -> SimpleNamespace:
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")  # what a job sets is taken back
    return jobs[rule]
