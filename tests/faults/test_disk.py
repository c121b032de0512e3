"""A disk that fills up while a stage writes, and one that takes nothing: a sentence, and no half file in its place."""

import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from snakemake.iocontainers import OutputFiles

from llamanas.report.crate import DESCRIPTOR
from rule_runner import RULES, run_script

PAGE = 4096
# With each way of writing: the fetched folder, resume state, safetensors, scores, tables, ONNX, text.
SHORT = ["fetch_model", "finetune", "build_supernet", "evaluate_chunk", "export_onnx", "extract_subnet", "report"]


@contextmanager
def mounted(folder: Path, *options: str):
    """A small file system of its own at the folder."""
    folder.mkdir(exist_ok=True)
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mount = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"no file system can be mounted here: {mount.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def moved(job, folder: str) -> dict[str, str]:
    """Where the job's outputs go instead, by where they were; the job is changed."""
    places = {
        str(path): f"{folder}/{path.parent.name if job.rule == 'report' else 'out'}/{path.name}"
        for path in map(Path, job.output)
    }
    named = {}
    for name in job.output.keys():
        value = job.output[name]
        named[name] = places[str(value)] if isinstance(value, str) else [places[str(path)] for path in value]
    job.output = OutputFiles(fromdict=named)
    return places


@pytest.mark.parametrize("rule", RULES)
def test_a_full_disk_leaves_no_half_file(copy, job, rule, request):
    if rule not in SHORT and not request.config.getoption("--every-fault"):
        pytest.skip("every writer is tried by another rule: --every-fault")
    size = sum((copy / path).stat().st_size for path in job.output)
    real = job.output
    places = moved(job, "full")
    try:
        with mounted(copy / "full", "-o", f"size={(size // 2 // PAGE + 1) * PAGE}"):
            (copy / "full/filler").write_bytes(b" " * PAGE)  # of what is to be written, half has room
            ended = run_script(copy, job)
            assert ended.status == 1
            assert "no space left on the device while writing full/" in ended.words, ended.words
            assert len(ended.words[ended.words.rindex("error: ") :].splitlines()) <= 5
            whole = {place: (copy / path).read_bytes() for path, place in places.items()}
            for place, content in whole.items():
                if (copy / place).exists() and place.endswith(DESCRIPTOR):
                    json.loads((copy / place).read_text())  # it lists the files beside it, which are others here
                elif (copy / place).exists():
                    assert (copy / place).stat().st_size == len(content), place
            assert not [*(copy / "full").rglob("*.part")]
    finally:
        job.output = real


@pytest.mark.parametrize("rule", ["fetch_model", "finetune", "evaluate_chunk", "export_onnx", "report"])
def test_a_read_only_disk_is_named(copy, job, rule):
    real = job.output
    places = moved(job, "fixed")
    try:
        with mounted(copy / "fixed"):
            for place in places.values():
                (copy / place).parent.mkdir(exist_ok=True)
            subprocess.run(["mount", "-o", "remount,ro", str(copy / "fixed")], check=True)
            ended = run_script(copy, job)
        assert ended.status == 1 and "cannot be written" in ended.words, ended.words
        assert "Traceback" not in ended.words
    finally:
        job.output = real
