"""What an experiment will take here: `python -m llamanas.estimate --configfile my.yaml [--directory RUN]`.

Jobs come from Snakemake's plan, arithmetic and memory from the model and the configuration (``resources.py``), speed
from a measurement (``calibrate.py``). Where the directory holds a run, what that took stands beside.
"""

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from llamanas import settings
from llamanas.artifacts import read_table
from llamanas.calibrate import Speed, measure_speed
from llamanas.devices import portable_kernels, visible_gpus
from llamanas.errors import LlamaNasError
from llamanas.models.families import read_config
from llamanas.report.usage import usage_by_rule, usage_rows
from llamanas.resources import AT_ONCE, TRAININGS, Items, Model, known_model, memory_mb, need, uses_gpu
from llamanas.search.replay import counted

GB = 1e9
WITH_TORCH = ("fetch_", "build_", "extract_", "export_")  # rules that load PyTorch, besides those that may use a GPU


@dataclass(frozen=True)
class Stage:
    """The jobs of a rule: how many, seconds, MB of memory and GPUs of each, bytes that all leave on disk."""

    rule: str
    jobs: int
    seconds: float
    memory: int
    disk: float
    gpus: int


def planned(configfiles: list[Path], directory: Path) -> dict[str, int]:
    """Jobs of each rule in a run from nothing, as Snakemake plans it.

    Raises:
        LlamaNasError: Snakemake refuses the configuration.
    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(settings.ROOT / "Snakefile"), "--dry-run"]
    command += ["--forceall", "--nolock", "--cores", "1", "--quiet", "rules", "--directory", str(directory)]
    command += ["--configfile", *map(str, configfiles), "--workflow-profile", "none"]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ)
    if run.returncode or "Job stats:" not in run.stdout:
        raise LlamaNasError(f"Snakemake cannot plan this experiment:\n{run.stdout.strip()[-600:]}")
    table = run.stdout.split("Job stats:")[1].split("\n\n")[0]
    found = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}
    return {name: count for name, count in found.items() if name not in ("total", "all")}


def configured(configfiles: list[Path]) -> dict:
    """The experiment's whole configuration, as the workflow completes it.

    Raises:
        LlamaNasError: the file cannot be read, or a setting is wrong.
    """
    from snakemake.utils import update_config

    config = yaml.safe_load((settings.ROOT / "config/config.yaml").read_text())
    for configfile in configfiles:
        try:
            update_config(config, yaml.safe_load(configfile.read_text()) or {})
        except (OSError, yaml.YAMLError, AttributeError, TypeError) as error:
            raise LlamaNasError(f"{configfile} is not a readable YAML configuration: {error}") from error
    return counted(settings.complete(config))


def counted_items(config: dict) -> Items:
    """Items of a task on average and their tokens, from the tables of the tasks where they have been fetched."""
    paths = _tables_of_tasks(config)
    if not all(path.exists() for path in paths):
        return Items.assumed(config)
    rows = [row for path in paths for row in read_table(path, "questions").to_pylist()]
    asked = [row for row in rows if row["split"] in ("search", "report")]
    tokens = sum(len(row["prefix"]) + sum(map(len, row["branches"])) for row in asked)
    count = {split: sum(row["split"] == split for row in asked) for split in ("search", "report")}
    return Items(count["search"] // len(paths), count["report"] // len(paths), tokens // max(len(asked), 1))


def _tables_of_tasks(config: dict) -> list[Path]:
    return [Path(config["results"]) / "tasks" / task / "questions.parquet" for task in config["tasks"]]


def stages(jobs: dict[str, int], config: dict, model: Model, speed: Speed, gpu: int, items: Items) -> list[Stage]:
    """What the jobs of each rule will take, in the order of the plan."""
    found = []
    for rule, count in jobs.items():
        job, gpus = need(rule, config, model, items), gpu * uses_gpu(rule)
        processes = config["compute"]["processes"] if rule in TRAININGS else 1
        rate = speed.training * max(gpus * processes, 1) if rule in TRAININGS else speed.scoring
        start = speed.start if uses_gpu(rule) or rule.startswith(WITH_TORCH) else speed.tables
        seconds = start + job.operations / rate + job.files / speed.disk
        memory = memory_mb(rule, config, model, gpus)
        found.append(Stage(rule, count, seconds, memory, count * job.kept, gpus * processes))
    return found


def table(found: list[Stage], took: list[dict]) -> str:
    """The stages as text; ``took`` is what the jobs of each rule took in a run (``usage_by_rule``)."""
    used = {row["rule"]: row for row in took}
    head = f"{'stage':<20}{'jobs':>6}{'s/job':>9}{'hours':>8}{'GPU-h':>8}{'MB/job':>9}{'disk GB':>9}"
    lines = [head + f"{'took jobs':>11}{'hours':>8}{'MB/job':>9}{'GPU MB':>9}" * bool(took)]
    for s in found:
        hours = s.jobs * s.seconds / 3600
        real = ""
        if row := used.get(s.rule):
            real = (
                f"{row['jobs']:>11}{row['seconds'] / 3600:>8.3f}{row['memory_mb']:>9,.0f}{row['gpu_memory_mb']:>9,.0f}"
            )
        lines.append(
            f"{s.rule:<20}{s.jobs:>6}{s.seconds:>9.1f}{hours:>8.3f}{hours * s.gpus:>8.2f}{s.memory:>9,}"
            f"{s.disk / GB:>9.2f}{real}"
        )
    total = sum(s.jobs * s.seconds for s in found) / 3600
    gpu_hours = sum(s.jobs * s.seconds * s.gpus for s in found) / 3600
    real = f"{sum(row['jobs'] for row in took):>11}{sum(row['seconds'] for row in took) / 3600:>8.3f}" if took else ""
    lines.append(
        f"{'total':<20}{sum(s.jobs for s in found):>6}{'':>9}{total:>8.3f}{gpu_hours:>8.2f}"
        f"{max(s.memory for s in found):>9,}{sum(s.disk for s in found) / GB:>9.2f}{real}"
    )
    return "\n".join(lines)


def estimate(configfiles: list[Path]) -> str:
    """The table for the configuration, in the run's directory.

    Raises:
        LlamaNasError: the configuration is wrong, or the model's sizes are not known yet.
    """
    config = configured(configfiles)
    model, tables = known_model(config), _tables_of_tasks(config)
    # Not `--until fetch_task`, for which Snakemake 9 gives up once the model is there.
    fetch = f"snakemake {' '.join(map(str, tables))} --directory {Path.cwd()} --configfile "
    fetch += " ".join(map(str, configfiles))
    if model is None:
        raise LlamaNasError(f"the model's sizes are not known before it is fetched. Run this first: {fetch}")
    jobs = planned(configfiles, Path())
    folder = config["model"]["source"].get("folder", "")
    fetched = Path(config["results"]) / "model/config.json"
    shape = read_config(fetched if fetched.exists() else settings.existing(folder) / "config.json")
    largest = min(config["supernet"]["batch_tokens"], config["supernet"]["device_tokens"] or AT_ONCE)
    gpu = int(config["compute"]["device"] != "cpu" and visible_gpus() > 0)
    if config["compute"]["portable"] and not gpu:
        os.environ.update(portable_kernels())
    speed = measure_speed(shape, Path(), config["compute"], largest)
    items = counted_items(config)
    found = stages(jobs, config, model, speed, gpu, items)
    took = usage_by_rule(usage_rows(Path("logs"), config, model))
    about = (
        f"{model.parameters / 1e6:,.1f} M parameters. Measured here: {speed.training / 1e9:,.1f} GFLOP/s in training, "
        f"{speed.scoring / 1e9:,.1f} in scoring, {speed.start:.1f} s until a job computes, "
        f"{speed.disk / 1e6:,.0f} MB/s through files. A task has {items.search:,} questions to search on and "
        f"{items.report:,} to report on, of {items.tokens:,} tokens"
    )
    if all(table.exists() for table in tables):
        about += " (the mean of those fetched)."
    else:
        about += f": a guess, before all tasks are fetched ({fetch})."
    return f"{about}\n\n{table(found, took)}"


def main() -> None:
    """`python -m llamanas.estimate --configfile FILE ... [--directory RUN]`."""
    parser = argparse.ArgumentParser(
        prog="python -m llamanas.estimate", description="What an experiment will take here."
    )
    default = settings.ROOT / "config/config.yaml"
    parser.add_argument("--configfile", type=Path, nargs="+", default=[default], help="its settings, as for snakemake")
    parser.add_argument("--directory", type=Path, default=Path(), help="directory of the run")
    options = parser.parse_args()
    try:
        files = [path if (options.directory / path).exists() else path.resolve() for path in options.configfile]
        if not options.directory.is_dir():
            raise LlamaNasError(f"--directory {options.directory} is no folder; make it first.")
        os.chdir(options.directory)
        print(estimate(files))
    except LlamaNasError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
