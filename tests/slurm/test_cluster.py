"""The workflow on a real SLURM cluster, and what a cluster does to jobs: limits, cancellation, dying daemons."""

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import slurm_cluster as cluster
from llamanas.artifacts import provenance_of
from llamanas.compare import TIMED
from llamanas.slurm import cancel_leftovers
from rule_runner import make
from tiny_experiment import TRAINING, write_experiment
from workflow_runner import ROOT

SEARCH = Path("results/search/tiny_sounds")
MEASURED = 300  # networks of a generation, which take seconds, so that none is over before something is done to it


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


def held_evaluation(besides: Collection[str]) -> tuple[str, str] | None:
    """Stop a running evaluation that is not among the given jobs; its number and node, or nothing if there is none."""
    for number, node in cluster.running("evaluate_").items():
        if number not in besides and number in cluster.begun():
            cluster.send_signal(number, signal.SIGSTOP)
            if number in cluster.begun():
                return number, node
            cluster.send_signal(number, signal.SIGCONT)
    return None


def test_limits_and_gpus(start, tmp_path):
    log = tmp_path / "run.log"
    run = start(tmp_path, log, snakefile="tests/slurm/minimal.smk")
    cluster.wait_for(lambda: (tmp_path / "time.part").exists())
    end_now(next(iter(cluster.running("time"))))
    assert run.wait(cluster.PATIENCE) == 0, log.read_text()
    said = log.read_text()
    assert (tmp_path / "memory.txt").read_text().split() == ["500", "1000"], said
    assert "SLURM status is: 'TIMEOUT'" in said and (tmp_path / "time.txt").exists()

    given = [(tmp_path / f"gpu-{number}.txt").read_text().strip() for number in (1, 2)]
    assert {*given} == {"0", "1"}, "two jobs of a node share a GPU"
    for number, device in enumerate(given, 1):
        assert f"GRES=gpu:fake:1(IDX:{device})" in (tmp_path / f"gpu-{number}.job").read_text()
    assert (tmp_path / "gpus.txt").read_text().strip() == "0,1"
    assert "NumNodes=1 " in (tmp_path / "gpus.job").read_text()


class Watch:
    """Every measured candidate of a run, by the times at which its numbers were written."""

    def __init__(self, directory: Path) -> None:
        self.folder, self.seen, self.done = directory / SEARCH, defaultdict(set), threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()

    def _look(self) -> None:
        while not self.done.wait(0.02):
            try:
                for path in self.kept():
                    self.seen[path].add(path.stat().st_mtime_ns)
            except FileNotFoundError:  # its chunk is done
                continue

    def kept(self, generation: int | str = "*") -> list[Path]:
        return [*self.folder.glob(f"generation-{generation}/scores/.resume/*/[!.]*.np[yz]")]


@pytest.fixture
def undisturbed(tmp_path) -> Path:
    """Directory of a local run whose trainings and evaluations last long enough to be disturbed elsewhere.

    Without the starts of a process for each job, since only its tables count.
    """
    here = tmp_path / "local"
    here.mkdir()
    config = write_experiment(
        here,
        instructions={"self_examples": 0},
        finetune=TRAINING | {"steps": 400},
        heal={"steps": 0},
        search={"population": MEASURED, "generations": 1, "chunks": 2},
        select={"bootstrap": 200, "picks": {"full": {"rule": "full"}}},
        export={"picks": [], "precisions": ["fp32"]},
        compute={"batch_tokens": 16},
    )
    make(here, config)
    return here


def require_equal(here: Path, there: Path) -> None:
    """Both runs have the same tables, byte for byte but for those that hold measured times."""
    tables = [path.relative_to(here) for path in here.glob("results/**/*.parquet")]
    assert tables and {*tables} == {path.relative_to(there) for path in there.glob("results/**/*.parquet")}
    for path in tables:
        if provenance_of(pq.read_table(here / path, partitioning=None))["artifact"] not in TIMED:
            assert (here / path).read_bytes() == (there / path).read_bytes(), path


def test_whole_workflow_on_two_nodes_where_everything_goes_wrong(undisturbed, start, tmp_path):
    there, log = tmp_path / "cluster", tmp_path / "run.log"
    there.mkdir()
    shutil.copy(undisturbed / "tiny.yaml", there)
    command = there, log, "--configfile", "tiny.yaml"
    run, watch = start(*command), Watch(there)

    # A training hangs until its time is over.
    cluster.wait_for(lambda: [*there.glob("results/finetune/.resume/*/state.zip")])
    number = next(iter(cluster.running("finetune")))
    cluster.send_signal(number, signal.SIGSTOP)
    end_now(number)
    cluster.wait_for(lambda: "SLURM status is: 'TIMEOUT'" in log.read_text())

    # An evaluation is cancelled.
    cluster.wait_for(lambda: len(watch.kept(0)) > 5)
    assert "going on from step" in (there / "logs/finetune.log").read_text()
    subprocess.run(["scancel", next(iter(cluster.running("evaluate_chunk")))], check=True)
    cluster.wait_for(lambda: "SLURM status is: 'CANCELLED'" in log.read_text())

    # slurmctld dies while jobs run. It saves its state every 5 s; what it had not saved nobody can know. A step that is
    # asked for before the nodes are known again begins minutes later, with nothing to test; so one must have begun.
    cluster.wait_for(cluster.all_begun)
    stopped = cluster.hold(6)
    cluster.restart(Path(cluster.setting("SlurmctldPidFile")), lambda: time.sleep(3), "slurmctld", "-D")
    for number in stopped:
        cluster.send_signal(number, signal.SIGCONT)

    # Snakemake itself is ended as scancel does it, by SIGTERM and then SIGKILL; its jobs, which are slow, live until
    # the same command takes their work over.
    cluster.wait_for(lambda: len(watch.kept(1)) > 5)
    for number in cluster.running("evaluate_chunk"):
        cluster.send_signal(number, signal.SIGSTOP)
    run.terminate()
    time.sleep(5)
    run.kill()
    run.wait()
    left_behind = cluster.wait_for(lambda: cluster.tell("squeue", "--noheader", "--format=%A").split())
    run = start(*command)

    # A node dies with the job that it runs: one that the new run submitted, and that cannot end before its node does.
    cluster.wait_for(lambda: "cancelling SLURM jobs" in log.read_text())
    number, node = cluster.wait_for(lambda: held_evaluation(besides=left_behind))

    def lose_node() -> None:
        subprocess.run(["scontrol", "update", f"nodename={node}", "state=down", "reason=test"], check=True)
        cluster.send_signal(number, signal.SIGKILL)

    pid_file = Path(cluster.setting("SlurmdPidFile").replace("%n", node))
    cluster.restart(pid_file, lose_node, "slurmd", "-D", "-N", node)
    subprocess.run(["scontrol", "update", f"nodename={node}", "state=resume"], check=False)
    assert run.wait(cluster.PATIENCE) == 0, log.read_text()[-5000:]
    assert watch.thread.is_alive()
    watch.done.set()

    assert "status is: 'NODE_FAIL'" in log.read_text()
    assert len(watch.seen) > MEASURED and all(len(times) == 1 for times in watch.seen.values()), "measured twice"
    rows = pq.read_table(there / "results/report/resources.parquet").to_pylist()
    assert {row["node"] for row in rows if row["slurm_job"]} == {"node1", "node2"}
    require_equal(undisturbed, there)
