"""Running Snakemake itself, as a user does, in a directory of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def command(directory: Path, *arguments: str | Path, snakefile: str = "Snakefile") -> list[str]:
    """The command that runs this workflow in ``directory``."""
    start = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / snakefile), "--directory", str(directory)]
    return [*start, "--workflow-profile", str(ROOT / "profiles/default"), *map(str, arguments)]


def snakemake(
    directory: Path, *arguments: str | Path, snakefile: str = "Snakefile", **environment: str
) -> subprocess.CompletedProcess:
    """`snakemake` on this workflow in ``directory``; the output holds standard output and error together."""
    return subprocess.run(
        command(directory, *arguments, snakefile=snakefile),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=directory,
        env=os.environ | environment,
    )


def planned_jobs(output: str) -> dict[str, int]:
    """Number of jobs of each rule in the plan that Snakemake printed."""
    if "Nothing to be done" in output:
        return {}
    table = output.split("Job stats:")[1].split("\n\n")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE) if name != "total"}
