"""The report as a job: read the artifacts, summarize, draw, write the table, the figures and the page."""

import json
from pathlib import Path

import pyarrow.parquet as pq

from llamanas.artifacts import provenance_of, read_table, whole_file
from llamanas.job import Job
from llamanas.models.families import read_config, shape_of
from llamanas.report.comparison import draw_comparison
from llamanas.report.costs import read_costs
from llamanas.report.figures import draw_architectures, draw_importance, draw_losses
from llamanas.report.front import draw_front
from llamanas.report.page import write_page
from llamanas.report.probabilities import draw_probabilities
from llamanas.report.progress import draw_progress
from llamanas.report.questions import chance_of
from llamanas.report.results import Results
from llamanas.report.summary import summarize
from llamanas.report.usage import usage_by_rule
from llamanas.supernet.ladder import ladder
from llamanas.supernet.space import space_of


def write_report(run: Job) -> None:
    """Make the outputs of rule ``report``: ``summary``, figures (SVG per task), ``configuration`` and ``page``.

    The lists of archives, fronts and picks among the inputs are in the order of ``tasks`` of the configuration, as are
    the figures among the outputs.

    Raises:
        LlamaNasError: a table is missing or damaged, or no space is left on the device.
    """
    results = read_results(run)
    summary = summarize(results.picks, results.accuracy, results.speed, results.shape)
    figures = draw_all(results)
    run.write("summary", summary)
    with whole_file(run.path("configuration")) as temporary:
        # Keys in their own order: in another, Snakemake takes the parameters of all jobs for changed.
        temporary.write_text(json.dumps(results.settings, indent=2) + "\n", encoding="utf-8")
    for kind in ("fronts", "architectures", "probabilities"):
        for path, svg in zip(run.output[kind], figures[kind].values(), strict=True):
            with whole_file(path) as temporary:
                temporary.write_text(svg, encoding="utf-8")
    write_page(run.path("page"), results, summary, figures)


def read_results(run: Job) -> Results:
    """The inputs of rule ``report``.

    Raises:
        LlamaNasError: a table is missing, damaged or another artifact.
    """
    settings = run.params["settings"]
    shape = shape_of(read_config(run.source("config", weights=False) / "config.json"))

    def by_task(name: str) -> dict[str, list[dict]]:
        paths = zip(settings["tasks"], run.input[name], strict=True)
        return {task: read_table(path, name).to_pylist() for task, path in paths}

    costs, busy_seconds = read_costs(Path(run.params["logs"]))
    space, importance = space_of(run.rows("space"), shape, settings["space"]), run.rows("importance")
    return Results(
        baselines=run.rows("baselines"),
        costs=costs,
        busy_seconds=busy_seconds,
        shape=shape,
        settings=settings,
        archives=by_task("archive"),
        fronts=by_task("front"),
        picks=by_task("picks"),
        accuracy=run.rows("accuracy"),
        speed=run.rows("speed"),
        losses=run.rows("losses"),
        healing=run.rows("healing"),
        transfer=run.rows("transfer"),
        questions=by_task("questions"),
        latency_checks=run.rows("latency_checks"),
        usage=usage_by_rule(run.rows("resources")),
        importance=importance,
        manifests={"the super-network, from which every sub-network is cut": run.rows("manifest")},
        packages=package_versions(
            [*run.input["accuracy"], *run.input["speed"], *run.input["losses"], *run.input["archive"]]
        ),
        space_size=space.size,
        rungs=frozenset(rung.id for rung in ladder(space, importance) if rung != shape.full),
    )


def package_versions(tables: list[str]) -> dict[str, str]:
    """Versions of the packages that made these tables, from their provenance; several versions are all named."""
    versions: dict[str, set[str]] = {}
    for path in tables:
        for package, version in provenance_of(pq.read_table(Path(path))).get("packages", {}).items():
            versions.setdefault(package, set()).add(version)
    return {package: ", ".join(sorted(several)) for package, several in sorted(versions.items())}


def draw_all(results: Results) -> dict[str, dict[str, str]]:
    """The SVG texts of all figures: ``training`` by name, the others by task (``comparisons`` where there are any)."""
    score = results.settings["search"]["score"]
    fronts, architectures, probabilities, comparisons = {}, {}, {}, {}
    for task, picks in results.picks.items():
        chance = chance_of(results.questions.get(task, []))
        probabilities[task] = draw_probabilities(task, results.fronts[task], results.shape)
        if rows := [row for row in results.baselines if row["task"] == task]:
            comparisons[task] = draw_comparison(task, rows, picks, chance)
        measured = results.archives[task], results.fronts[task]
        fronts[task] = draw_front(task, *measured, picks, results.shape, score, chance)
        architectures[task] = draw_architectures(task, picks, results.shape)
    training = {"losses": draw_losses(results.losses)} if results.losses else {}
    training |= {"importance": draw_importance(results.importance)}
    training |= {"progress": draw_progress(results.archives, results.settings["search"]["objective"], score)}
    by_task = {"architectures": architectures, "probabilities": probabilities, "comparisons": comparisons}
    return {"fronts": fronts, "training": training} | by_task
