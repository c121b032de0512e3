"""Rules' scripts run in this process, so that hundreds of them take seconds; what Snakemake gives them is given.

`python tests/rule_runner.py FOLDER CONFIGFILE TARGET...` makes targets so, which lets an emulator of another CPU, of
which the processes that Snakemake starts would not be part, compute an experiment.
"""

import contextlib
import os
import runpy
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import yaml
from snakemake.iocontainers import InputFiles, Log, OutputFiles, Params, Wildcards

from llamanas import settings
from workflow_runner import ROOT

# Those of the tiny experiment, in their order.
RULES = [
    "fetch_model", "fetch_task", "write_examples", "fetch_instructions", "finetune", "rank_importance",
    "train_supernet", "build_supernet", "propose_candidates", "evaluate_chunk", "collect_generation",
    "expect_scores", "evaluate_front", "select_front", "measure_references", "heal", "measure_healing",
    "extract_subnet", "export_onnx", "equalize", "measure_bits", "quantize", "benchmark_accuracy", "benchmark_speed",
    "collect_usage", "report", "record_run",
]  # fmt: skip
# Text goes where file descriptors lead, as in a process of its own, not to the streams that pytest has put in place.
OUTPUT, ERRORS = (open(descriptor, "w", buffering=1, closefd=False) for descriptor in (1, 2))  # noqa: SIM115


class Ended(NamedTuple):
    """How a script ended: its exit status, and what stands in its log below the first line, which says what it is."""

    status: int
    words: str


def job_of(
    rule: str, params: dict, input: dict | None = None, output: dict | None = None, config: dict | None = None,
    **wildcards: str,
) -> Any:  # fmt: skip
    """A stand-in for the object that Snakemake gives a script; paths are relative to the run's folder."""
    return SimpleNamespace(
        rule=rule, input=InputFiles(fromdict=input or {}), output=OutputFiles(fromdict=output or {}),
        params=Params(fromdict={"seed": 7} | params), wildcards=Wildcards(fromdict=wildcards), threads=1,
        log=Log([f"logs/{rule}.log"]), config=settings.complete(config or {}),
    )  # fmt: skip


def jobs_of(folder: Path, configfile: Path, *targets: str, needed: bool = False) -> list[Any]:
    """Every job of an experiment, as Snakemake itself plans it, each after those whose outputs it reads.

    With ``needed`` those alone that `snakemake` would run, by the triggers of the default profile.
    """
    from snakemake.api import SnakemakeApi
    from snakemake.settings.enums import RerunTrigger
    from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings

    profile = yaml.safe_load((ROOT / "profiles/default/config.yaml").read_text())
    triggers = frozenset(map(RerunTrigger.parse_choice, profile["rerun-triggers"]))
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            ResourceSettings(cores=2), ConfigSettings(configfiles=[configfile]), snakefile=ROOT / "Snakefile",
            workdir=folder,
        )  # fmt: skip
        workflow.dag(DAGSettings(targets=frozenset(targets), rerun_triggers=triggers)).printrulegraph()
        dag = workflow._workflow.dag
        jobs = [job for level in dag.toposorted() for job in level if job.is_script]
        names = "input", "output", "params", "wildcards", "threads", "log"
        config = workflow._workflow.config
        return [
            SimpleNamespace(rule=job.rule.name, config=config, **{name: getattr(job, name) for name in names})
            for job in jobs
            if dag.needrun(job) or not needed
        ]


def make(folder: Path, configfile: Path, *targets: str) -> dict[str, int]:
    """Make the targets as `snakemake` does, but with one process for all jobs; how many of each rule it took."""
    with patch.dict(os.environ):  # what a job sets is taken back
        jobs = jobs_of(folder, configfile, *targets, needed=True)
        for job in jobs:
            ended = run_script(folder, job)
            assert ended.status == 0, (job.rule, ended.words)
            assert [path for path in job.output if not (folder / path).exists()] == [], job.rule
    return dict(Counter(job.rule for job in jobs))


def run_script(folder: Path, job: Any) -> Ended:
    """Run the script of a job in the folder."""
    status = 0
    with contextlib.chdir(folder), contextlib.redirect_stdout(OUTPUT), contextlib.redirect_stderr(ERRORS):
        for paths in job.output:
            for path in [paths] if isinstance(paths, str) else paths:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
        try:
            runpy.run_path(str(ROOT / f"workflow/scripts/{job.rule}.py"), {"snakemake": job})
        except SystemExit as end:
            status = int(end.code or 0)
        return Ended(status, Path(job.log[0]).read_text().split("\n", 1)[1])


if __name__ == "__main__":
    print(make(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), *sys.argv[3:]))
