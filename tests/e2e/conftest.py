"""The tiny experiment, run once through all rules."""

from pathlib import Path

import pytest

from tiny_experiment import write_experiment
from workflow_runner import snakemake


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """Directory of a finished run of the tiny experiment."""
    folder = tmp_path_factory.mktemp("tiny")
    write_experiment(folder)
    run = snakemake(folder, "--configfile", "tiny.yaml")
    assert run.returncode == 0, run.stdout[-5000:]
    return folder
