"""What a run cost, from the files that Snakemake and the jobs write below ``logs``."""

import csv
import re
from pathlib import Path
from typing import NamedTuple

_DEVICES = re.compile(r"^computing on (.+) with \d+ threads", re.MULTILINE)


class Stage(NamedTuple):
    """The jobs of one rule: seconds summed over them, the largest memory of one, and hours of GPUs that they held."""

    rule: str
    jobs: int
    seconds: float
    cpu_seconds: float | None
    memory_mb: float | None
    gpu_hours: float


class _Job(NamedTuple):
    rule: str
    begin: float
    seconds: float
    cpu_seconds: float | None
    memory_mb: float | None
    gpus: int


def read_costs(logs: Path) -> tuple[list[Stage], float]:
    """The stages in the order in which they began, and the seconds in which at least one job ran.

    Each ``.tsv`` is a job's benchmark, written when it ended; the log beside it names the devices. What is not there
    was deleted or moved, so that the stages may be fewer than those that ran.
    """
    jobs = sorted((job for path in logs.rglob("*.tsv") for job in _jobs(path, logs)), key=lambda job: job.begin)
    rules = dict.fromkeys(job.rule for job in jobs)
    return [_stage(rule, [job for job in jobs if job.rule == rule]) for rule in rules], _covered(jobs)


def read_span(logs: Path) -> tuple[float, float] | None:
    """When the first job began and the last one ended, in seconds since 1970; None where there are no benchmarks."""
    jobs = [job for path in logs.rglob("*.tsv") for job in _jobs(path, logs)]
    return (min(job.begin for job in jobs), max(job.begin + job.seconds for job in jobs)) if jobs else None


def _jobs(path: Path, logs: Path) -> list[_Job]:
    log, end = path.with_suffix(".log"), path.stat().st_mtime
    found = _DEVICES.search(log.read_text(errors="replace")) if log.exists() else None
    gpus = sum(device != "cpu" for device in found[1].split(", ")) if found else 0
    rule = path.relative_to(logs).with_suffix("").parts[0]
    with path.open() as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if _number(row.get("s"))]
    jobs = []
    for row in rows:
        seconds = _number(row["s"]) or 0.0
        jobs.append(_Job(rule, end - seconds, seconds, _number(row.get("cpu_time")), _number(row.get("max_rss")), gpus))
    return jobs


def _number(text: str | None) -> float | None:
    """A column of a benchmark, which is NA or - for a job too short to be looked at."""
    try:
        return float(text or "")
    except ValueError:
        return None


def _stage(rule: str, jobs: list[_Job]) -> Stage:
    cpu = [job.cpu_seconds for job in jobs if job.cpu_seconds is not None]
    memory = [job.memory_mb for job in jobs if job.memory_mb is not None]
    return Stage(
        rule, len(jobs), sum(job.seconds for job in jobs), sum(cpu) if cpu else None,
        max(memory, default=None), sum(job.seconds * job.gpus for job in jobs) / 3600,
    )  # fmt: skip


def _covered(jobs: list[_Job]) -> float:
    """Length of the union of the jobs' spans, given in the order of their beginnings."""
    total, until = 0.0, float("-inf")
    for job in jobs:
        end = job.begin + job.seconds
        total += max(0.0, end - max(job.begin, until))
        until = max(until, end)
    return total
