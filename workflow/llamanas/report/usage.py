"""What jobs were estimated to need against what they used, from Snakemake's benchmark files, the logs and sacct."""

import csv
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from llamanas.meter import taken
from llamanas.resources import Model, memory_mb, runtime_minutes

_WHERE = re.compile(r"^rule \w+(?: \(.*\))? on node ([^\s,]+)(?:, SLURM job (\d+))?$", re.MULTILINE)
_UNITS = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}


def usage_rows(logs: Path, config: dict, model: Model) -> list[dict]:
    """Rows of artifact ``resources``, one for each job that has a benchmark file below ``logs``.

    Memory is in MB (2^20 bytes), the largest that the job's processes had together; what SLURM accounted, where it
    answers, has the Snakemakes inside the job as well.
    """
    rows = [_row(path, logs, config, model) for path in sorted(logs.rglob("*.tsv"))]
    accounted = slurm_memory({row["slurm_job"] for row in rows if row["slurm_job"]})
    return [row | {"slurm_memory_mb": accounted.get(row["slurm_job"])} for row in rows]


def _row(path: Path, logs: Path, config: dict, model: Model) -> dict:
    with path.open(newline="") as stream:
        used = next(csv.DictReader(stream, delimiter="\t"))
    log = path.with_suffix(".log")
    text = log.read_text(errors="replace") if log.exists() else ""
    where = _WHERE.search(text)
    name, *about = path.relative_to(logs).with_suffix("").parts
    gpu = int("computing on cuda" in text)
    gpu_memory, gpu_energy = taken(text)
    return {
        "rule": name,
        "job": "/".join(about),
        "node": where[1] if where else None,
        "slurm_job": where[2] if where else None,
        "gpu": bool(gpu),
        "seconds": float(used["s"]),
        "memory_mb": _number(used["max_rss"]),
        "estimated_minutes": runtime_minutes(name, config, model, gpu),
        "estimated_memory_mb": memory_mb(name, config, model, gpu),
        "gpu_memory_mb": gpu_memory,
        "gpu_energy_j": gpu_energy,
    }


def _number(text: str) -> float | None:
    """A number of a benchmark file; a job that is too short to be looked at has NA."""
    try:
        return float(text)
    except ValueError:
        return None


def slurm_memory(jobs: Iterable[str]) -> dict[str, float]:
    """Largest memory in MB of each of these SLURM jobs' steps, as far as sacct knows it."""
    numbers = sorted(jobs)
    if not numbers or not shutil.which("sacct"):
        return {}
    command = ["sacct", "--noheader", "--parsable2", "--format=JobID,MaxRSS", "--jobs", ",".join(numbers)]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return dict(_largest(answer.stdout.splitlines())) if answer.returncode == 0 else {}


def _largest(lines: list[str]) -> Iterator[tuple[str, float]]:
    largest: dict[str, float] = {}
    for step, size in (line.split("|") for line in lines if line.count("|") == 1):
        if match := re.fullmatch(r"([\d.]+)([KMGT]?)", size):
            megabytes = float(match[1]) * _UNITS.get(match[2], 1 / 2**20)
            job = step.split(".")[0]
            largest[job] = max(largest.get(job, 0.0), megabytes)
    yield from largest.items()


def usage_by_rule(rows: list[dict]) -> list[dict]:
    """One row for each rule, most seconds first: jobs, seconds, peak memory, and the estimates of the largest job."""
    found = []
    for name in {row["rule"] for row in rows}:
        jobs = [row for row in rows if row["rule"] == name]
        peaks = [max(row["memory_mb"] or 0, row["slurm_memory_mb"] or 0) for row in jobs]
        found.append(
            {
                "rule": name,
                "jobs": len(jobs),
                "seconds": sum(row["seconds"] for row in jobs),
                "longest_minutes": max(row["seconds"] for row in jobs) / 60,
                "estimated_minutes": max(row["estimated_minutes"] for row in jobs),
                "memory_mb": max(peaks),
                "estimated_memory_mb": max(row["estimated_memory_mb"] for row in jobs),
                "gpu_memory_mb": max(row["gpu_memory_mb"] or 0 for row in jobs),
                "gpu_energy_j": sum(row["gpu_energy_j"] or 0 for row in jobs),
            }
        )
    return sorted(found, key=lambda row: (-row["seconds"], row["rule"]))
