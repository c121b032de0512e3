"""A cluster of one machine under test, and what its jobs do."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

from workflow_runner import ROOT

Found = TypeVar("Found")
PROFILE = (
    "--workflow-profile", str(ROOT / "profiles/slurm"), "--jobs", "6", "--latency-wait", "10",
    "--slurm-init-seconds-before-status-checks", "5",
    "--default-resources", "mem_mb=700", "runtime=5", "nodes=1", "cluster_gpus=1",
)  # fmt: skip


def tell(*command: str) -> str:
    """What a command of SLURM prints; nothing if it fails."""
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


def answers() -> bool:
    return bool(shutil.which("sbatch")) and " UP" in tell("scontrol", "ping")


def is_of_one_machine() -> bool:
    """Whether the daemons are all on this machine and ours to kill."""
    return (
        os.getuid() == 0 and "127.0.0.1" in tell("scontrol", "show", "config").split("SlurmctldHost")[1].split("\n")[0]
    )


def wait_for(what: Callable[[], Found], seconds: float = 400) -> Found:
    """The first true value that ``what`` returns."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := what():
            return value
        time.sleep(0.1)
    raise TimeoutError(f"waited {seconds} s in vain; the queue is\n{tell('squeue')}")


def running(rule: str) -> dict[str, str]:
    """Running jobs of a rule: their numbers and nodes."""
    lines = tell("squeue", "--noheader", "--states=RUNNING", "--format=%A|%N|%k").splitlines()
    return {number: node for number, node, about in (line.split("|") for line in lines) if f"rule_{rule}" in about}
