"""The cluster that these tests need."""

from pathlib import Path

import pytest

import slurm_cluster as cluster


def pytest_collection_modifyitems(items):
    reason = None
    if not cluster.answers():
        reason = "no SLURM cluster: sbatch is missing or slurmctld does not answer"
    elif not cluster.is_of_one_machine():
        reason = "these tests fill nodes, so they want a cluster of this machine alone (SlurmctldHost 127.0.0.1, root)"
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))
