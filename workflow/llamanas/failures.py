"""What is said when jobs fail: which rule, for what, on which node, where its log is, and what to try.

Imported while Snakemake parses.
"""

import os
import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

from llamanas.errors import LlamaNasError

MARK = "error: "  # begins the last words of a job's log
_FAILED = re.compile(r"^Error in rule (\w+):\n((?:    .*\n)*)", re.MULTILINE)
_LOG = re.compile(r"^    log: (.*?)(?: \(check log file.*)?$", re.MULTILINE)
KILLED = (
    "its log ends without an error: it was killed, for want of memory or of time, by you, or with its node. Try more "
    "of what it lacked: --set-resources {rule}:mem_mb=… {rule}:runtime=… (minutes)."
)


def heading(rule: str, wildcards: dict[str, str]) -> str:
    """First line of a job's log."""
    about = ", ".join(f"{name}={value}" for name, value in wildcards.items())
    number = os.environ.get("SLURM_JOB_ID")
    node = os.environ.get("SLURMD_NODENAME", socket.gethostname()) + (f", SLURM job {number}" if number else "")
    return f"rule {rule}{f' ({about})' if about else ''} on node {node}"


def in_words(error: Exception) -> str:
    """The last words of a job that ends with this exception."""
    if isinstance(error, LlamaNasError):
        return str(error)
    text = str(error)
    if isinstance(error, MemoryError) or any(words in text for words in ("out of memory", "allocate memory")):
        return (
            "out of memory. Try a smaller compute.batch_tokens (evaluation) or device_tokens (training), or more "
            "memory; on a GPU that other jobs and programs fill, run fewer at once."
        )
    return (
        f"unexpected {type(error).__name__}, with its traceback above. If the input is right, this is a defect of the "
        "workflow: please report it with this log."
    )


def summary(logs: Iterable[str | Path]) -> Iterator[str]:
    """Lines that say what failed in a run of Snakemake, from its own log files and those of the failed jobs."""
    said = "".join(map(_text, logs))
    failed = dict.fromkeys((rule, _first(_LOG, body)) for rule, body in _FAILED.findall(said))
    for rule, path in failed:
        words = _text(path) if path else ""
        yield words.partition("\n")[0] if words.startswith("rule ") else f"rule {rule}"
        yield (
            f"  {MARK}{words.rpartition(chr(10) + MARK)[2].strip()}"
            if f"\n{MARK}" in words
            else (f"  {MARK}{KILLED.format(rule=rule)}")
        )
        if path:
            yield f"  log: {path}"
    yield "Finished results are kept: the same command goes on from there. LLAMANAS_TRACEBACK=1 shows tracebacks."


def _first(pattern: re.Pattern, text: str) -> str | None:
    found = pattern.search(text)
    return found[1] if found else None


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
