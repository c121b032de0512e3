"""What is said of failed jobs, from the log of Snakemake and their own."""

import pytest

from llamanas import failures
from llamanas.errors import LlamaNasError

SNAKEMAKE = """\
Error in rule {rule}:
    message: None
    jobid: 3
    output: results/x.parquet
    log: {log} (check log file(s) for error details)
"""


def summary(folder, words: str | None) -> list[str]:
    if words is not None:
        (folder / "job.log").write_text(failures.heading("heal", {"task": "piqa", "pick": "knee"}) + "\n" + words)
    about = SNAKEMAKE.format(rule="heal", log=folder / "job.log")
    (folder / "snakemake.log").write_text(about + "\nmore\n" + about)
    return [*failures.summary([folder / "snakemake.log"])]


def test_rule_wildcards_node_error_and_log_are_named_once(tmp_path):
    lines = summary(tmp_path, "computing\nerror: the loss is nan at step 3; lower it.\n")
    assert lines[0].startswith("rule heal (task=piqa, pick=knee) on node ")
    assert lines[1:3] == ["  error: the loss is nan at step 3; lower it.", f"  log: {tmp_path / 'job.log'}"]
    assert len(lines) == 4 and "the same command goes on" in lines[3]


@pytest.mark.parametrize("words", ["computing\n", None])
def test_a_job_without_last_words_was_killed(tmp_path, words):
    lines = summary(tmp_path, words)
    assert lines[0].startswith("rule heal") and "it was killed" in lines[1] and "heal:mem_mb" in lines[1]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (LlamaNasError("the key x"), "the key x"),
        (MemoryError(), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
        (RuntimeError("CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation'"), "run fewer at once"),
        (KeyError("x"), "unexpected KeyError.*report it"),
    ],
)
def test_the_last_words_of_a_job(error, words):
    import re

    assert re.search(words, failures.in_words(error))


def test_without_a_log_nothing_is_invented(tmp_path):
    assert len([*failures.summary([tmp_path / "none"])]) == 1
