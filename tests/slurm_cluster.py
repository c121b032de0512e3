"""A cluster of one machine under test: what its jobs do, and its daemons killed and started again."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from workflow_runner import ROOT

Found = TypeVar("Found")
PATIENCE = 1200  # seconds until a test gives up, on slow machines too
PROFILE = (
    "--workflow-profile", str(ROOT / "profiles/slurm"), "--jobs", "6", "--latency-wait", "10",
    "--slurm-init-seconds-before-status-checks", "10",
    "--default-resources", "mem_mb=700", "runtime=5", "nodes=1", "cluster_gpus=1",
)  # fmt: skip


def tell(*command: str) -> str:
    """What a command of SLURM prints; nothing if it fails."""
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


def answers() -> bool:
    return bool(shutil.which("sbatch")) and " UP" in tell("scontrol", "ping")


def setting(name: str) -> str:
    """A setting of slurm.conf."""
    (line,) = [line for line in tell("scontrol", "show", "config").splitlines() if line.split("=")[0].strip() == name]
    return line.split("=", 1)[1].strip()


def is_of_one_machine() -> bool:
    """Whether the daemons are all on this machine and ours to kill."""
    return (
        os.getuid() == 0 and "127.0.0.1" in tell("scontrol", "show", "config").split("SlurmctldHost")[1].split("\n")[0]
    )


def wait_for(what: Callable[[], Found], seconds: float = PATIENCE) -> Found:
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


def begun() -> set[str]:
    """Running jobs whose first step has begun, which is what a rule's script runs in."""
    steps = tell("squeue", "--steps", "--noheader", "--format=%i").split()
    return {step.removesuffix(".0") for step in steps if step.endswith(".0")}


def all_begun() -> bool:
    """Whether jobs run, and the first step of each has begun."""
    jobs = set(running(""))
    return bool(jobs) and jobs <= begun()


def send_signal(number: str, which: int) -> None:
    """Send a signal to all that a job runs."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"SLURM_JOB_ID={number}" in path.read_text(errors="replace").split("\0"):
                os.kill(int(path.parent.name), which)
        except OSError:
            continue  # it has ended


def hold(seconds: float) -> set[str]:
    """Stop all that runs, so that for so long no job begins or ends; the numbers of the stopped jobs."""
    stopped: set[str] = set()
    since = time.monotonic()
    while time.monotonic() - since < seconds:
        if (jobs := set(running(""))) != stopped:
            stopped, since = jobs, time.monotonic()
        for number in stopped:
            send_signal(number, signal.SIGSTOP)
        time.sleep(0.1)
    return stopped


def restart(pid_file: Path, meanwhile: Callable[[], object], *command: str) -> None:
    """Kill a daemon as a crash does, and start it again as it was started after ``meanwhile``."""
    old = int(pid_file.read_text())
    os.kill(old, 9)
    meanwhile()
    environment = {"PATH": os.environ["PATH"], "SLURM_CONF": "/etc/slurm/slurm.conf", "LANG": "C.UTF-8"}
    new = subprocess.Popen(
        command, env=environment, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(answers, 30)
    known = Path(setting("SlurmctldPidFile")).with_name("pids")  # of the script that began the cluster and will end it
    if known.exists():
        since = Path(f"/proc/{new.pid}/stat").read_text().rpartition(")")[2].split()[19]
        lines = [line for line in known.read_text().splitlines() if line.split()[1] != str(old)]
        known.write_text("\n".join([*lines, f"{command[0]} {new.pid} {since}", ""]))
