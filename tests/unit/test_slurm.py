"""Jobs that a killed Snakemake left in the queue: only those of this directory and of the executor are cancelled."""

import pytest

from llamanas import slurm

QUEUE = """11|f81d4fae-7dec-11d0-a765-00a0c91e6bf6|{here}
12|f81d4fae-7dec-11d0-a765-00a0c91e6bf6|/elsewhere
13|my_interactive_job|{here}
14|prefix-f81d4fae-7dec-11d0-a765-00a0c91e6bf6|{here}"""


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """Stand-ins for SLURM's commands: squeue prints ``queue``, scancel empties it and notes what it was asked for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (tmp_path / "queue").write_text(QUEUE.format(here=tmp_path))
    for name, body in {
        "squeue": f"cat {tmp_path}/queue",
        "scancel": f'echo "$@" > {tmp_path}/cancelled; : > {tmp_path}/queue',
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return tmp_path


def test_jobs_of_the_executor_in_this_directory_are_cancelled(queue, capsys):
    assert slurm.cancel_leftovers(queue) == ["11", "14"]
    assert (queue / "cancelled").read_text() == "11 14\n"
    assert "cancelling SLURM jobs 11, 14" in capsys.readouterr().err


def test_other_directories_and_failing_commands_cancel_nothing(queue, tmp_path):
    assert slurm.cancel_leftovers(queue / "bin") == []
    (queue / "bin/squeue").write_text("#!/bin/sh\nexit 1\n")
    assert slurm.cancel_leftovers(queue) == []
    (queue / "bin/squeue").unlink()
    assert slurm.cancel_leftovers(queue) == []
    assert not (queue / "cancelled").exists()
