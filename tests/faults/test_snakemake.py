"""Two runs in one directory, Ctrl-C, a clock that jumps, and what a run keeps of its environment."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from conftest import SECRET
from workflow_runner import command, snakemake

CONFIG = "--configfile", "tiny.yaml"
TRAINED = "results/finetune/model.safetensors"
ARCHIVE, FRONT = (f"results/search/tiny_sounds/{name}.parquet" for name in ("generation-2/archive", "front"))


@pytest.fixture
def folder(finished, tmp_path) -> Path:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_a_second_run_is_refused_and_ctrl_c_leaves_what_goes_on(folder, finished):
    log = folder / "logs/finetune.log"
    log.unlink()
    with (folder / "first.log").open("w") as output:
        first = subprocess.Popen(
            command(folder, TRAINED, *CONFIG, "--forcerun", "finetune"),
            stdout=output, stderr=output, cwd=folder, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore Ctrl-C
        )  # fmt: skip
    while first.poll() is None and not (log.exists() and log.read_text()):
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGSTOP)  # or it might end before the second has begun
    second = snakemake(folder, TRAINED, *CONFIG)
    os.killpg(first.pid, signal.SIGINT)
    os.killpg(first.pid, signal.SIGCONT)
    assert second.returncode != 0 and "cannot be locked" in second.stdout and "Traceback" not in second.stdout
    assert first.wait() != 0
    assert log.read_text().endswith("error: interrupted\n"), log.read_text()
    assert "Traceback" not in (folder / "first.log").read_text()
    again = snakemake(folder, TRAINED, *CONFIG)
    assert again.returncode == 0 and "finetune" in again.stdout, again.stdout
    assert (folder / TRAINED).read_bytes() == (finished / TRAINED).read_bytes()


def test_a_clock_that_was_ahead_neither_repeats_nor_stops_anything(folder):
    tomorrow = time.time_ns() + 86_400 * 10**9
    files = [path for path in (folder / "results").rglob("*") if path.is_file()]
    for path in files:
        times = path.stat()
        os.utime(path, ns=(tomorrow, times.st_mtime_ns + 86_400 * 10**9))
    run = snakemake(folder, "-n", *CONFIG)
    assert "dated in the future" in run.stdout and "Nothing to be done" in run.stdout, run.stdout
    assert max(path.stat().st_mtime for path in files) <= time.time()
    os.utime(folder / ARCHIVE, ns=(tomorrow, tomorrow))
    front = (folder / FRONT).read_bytes()
    run = snakemake(folder, FRONT, *CONFIG, "--forcerun", "select_front")
    assert run.returncode == 0, run.stdout[-3000:]
    assert (folder / FRONT).read_bytes() == front


def test_no_secret_of_the_environment_is_kept(finished):
    kept = [path for path in finished.rglob("*") if path.is_file()]
    assert any(path.parts[-3:-1] == (".snakemake", "metadata") for path in kept) and len(kept) > 100
    assert [path for path in kept if SECRET.encode() in path.read_bytes()] == []
