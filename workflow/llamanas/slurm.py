"""What the workflow asks of SLURM itself; the jobs are submitted by Snakemake's executor."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

# The executor names all jobs of a run by one random UUID, which a prefix may precede.
_RUN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
_PATIENCE = 60  # seconds until cancelled jobs have ended


def cancel_leftovers(directory: Path) -> list[str]:
    """Cancel the jobs that a Snakemake which was killed has left in the queue; returns their numbers.

    A new run would submit them again, and two jobs would write the same files. Jobs count as left over if the executor
    submitted them from ``directory``, which no other living Snakemake can have locked. Nothing happens where there is
    no SLURM or it does not answer.
    """
    if not shutil.which("squeue"):
        return []
    lines = [line.split("|", 2) for line in _squeue("--me", "--format=%A|%j|%Z")]
    left = sorted(
        {number for number, name, place in lines if _RUN.search(name) and Path(place).resolve() == directory.resolve()}
    )
    if not left:
        return []
    print(f"cancelling SLURM jobs {', '.join(left)}, which an interrupted run left behind", file=sys.stderr)
    subprocess.run(["scancel", *left], check=False)
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and _squeue("--jobs", ",".join(left), "--format=%A"):
        time.sleep(1)
    return left


def _squeue(*options: str) -> list[str]:
    """Lines of squeue, none if it fails."""
    try:
        run = subprocess.run(["squeue", "--noheader", *options], capture_output=True, text=True, timeout=_PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return run.stdout.splitlines() if run.returncode == 0 else []
