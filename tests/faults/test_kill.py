"""`kill -9` of everything at random moments, each followed by the same command: the tables are those of a calm run."""

import csv
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from llamanas import compare
from rule_runner import RULES
from workflow_runner import command, snakemake

SEED = 2405
TRAINED = "results/train_supernet/model.safetensors"
FIRST = ["fetch_model", "finetune", "train_supernet"]
TIMED = {f"{artifact}.parquet" for artifact in compare.TIMED}


def logs_of(folder: Path, rule: str) -> list[Path]:
    return [path for path in [folder / f"logs/{rule}.log", *(folder / f"logs/{rule}").rglob("*.log")] if path.exists()]


def seconds_of(folder: Path, rule: str) -> float:
    """How long the rule's shortest job took in a finished run."""
    return min(float(next(csv.DictReader(log.with_suffix(".tsv").open(), delimiter="\t"))["s"])
               for log in logs_of(folder, rule))  # fmt: skip


def kill_in_one_of(folder: Path, rules: list[str], delays: dict[str, float], *arguments: str) -> str | None:
    """Start the command and kill all its processes a while after a job of one of the rules has begun: which one."""
    begun = time.time()
    with (folder / "killed.log").open("a") as output:
        process = subprocess.Popen(
            command(folder, *arguments), stdout=output, stderr=output, cwd=folder, start_new_session=True
        )
    hit = None
    while process.poll() is None and hit is None:
        time.sleep(0.02)
        hit = next((r for r in rules if any(log.stat().st_mtime >= begun for log in logs_of(folder, r))), None)
    time.sleep(delays[hit] if hit else 0)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return hit


def contents(folder: Path) -> dict[str, bytes]:
    """Every table and every file of weights by path, but for what was measured by a clock."""
    files = [path for path in (folder / "results").rglob("*") if path.suffix in (".parquet", ".safetensors", ".data")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name not in TIMED}


@pytest.mark.parametrize(
    ("rules", "target"), [(FIRST, [TRAINED]), (RULES, [])], ids=["trainings", "every stage"]
)  # fmt: skip
def test_a_killed_run_goes_on_to_the_same_tables(finished, tmp_path, rules, target, request):
    if rules is RULES and not request.config.getoption("--every-fault"):
        pytest.skip("takes ten minutes: --every-fault")
    shutil.copy(finished / "tiny.yaml", tmp_path)
    arguments = [*target, "--configfile", "tiny.yaml"]
    draw = random.Random(SEED)
    delays = {rule: draw.uniform(0, seconds_of(finished, rule)) for rule in rules}
    left = [*rules]
    while left:
        hit = kill_in_one_of(tmp_path, left, delays, *arguments)
        if hit is None:  # it had ended while another was waited for
            hit = kill_in_one_of(tmp_path, left[:1], delays, *arguments, "--forcerun", left[0])
        assert hit, (left, (tmp_path / "killed.log").read_text()[-3000:])
        print(f"killed {delays[hit]:.2f} s after the beginning of {hit}")
        left.remove(hit)
    run = snakemake(tmp_path, *arguments)
    assert run.returncode == 0, run.stdout[-5000:]
    calm, disturbed = contents(finished), contents(tmp_path)
    assert disturbed.keys() == {name for name in calm if not target or name in disturbed}
    assert [name for name in disturbed if disturbed[name] != calm[name]] == []
    assert not [*tmp_path.rglob("*.part")]
