"""The graph of all rules in workflow/documentation.md, drawn from Snakemake's own: `python -m llamanas.rulegraph`."""

import re
import subprocess
import sys
import tempfile

from llamanas.errors import LlamaNasError
from llamanas.settings import ROOT

PAGE = ROOT / "workflow/documentation.md"
START, END = "<!-- rules: python -m llamanas.rulegraph -->", "<!-- end of rules -->"


def graph() -> str:
    """The rules of the default experiment and what each takes from another, as mermaid.

    Raises:
        LlamaNasError: Snakemake gives no graph.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", folder]
        run = subprocess.run([*command, "--rulegraph", "mermaid-js"], capture_output=True, text=True, cwd=folder)
    names = dict(re.findall(r"^\s*(id\d+)\[(\w+)\]$", run.stdout, re.MULTILINE))
    edges = re.findall(r"^\s*(id\d+) --> (id\d+)$", run.stdout, re.MULTILINE)
    if run.returncode or not edges:
        raise LlamaNasError(f"`snakemake --rulegraph mermaid-js` gave no graph: {run.stderr.strip()}")
    lines = sorted(f"  {names[one]} --> {names[other]}" for one, other in edges)
    return "\n".join(["```mermaid", "flowchart TB", *lines, "```"])


def page() -> str:
    """workflow/documentation.md with its graph made anew."""
    before, rest = PAGE.read_text().split(START)
    return before + "\n".join([START, "", graph(), "", END]) + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page())
