"""The published claims against this run: what was measured here, and how far the two can be compared."""

from collections.abc import Callable
from typing import NamedTuple

import yaml

from llamanas.errors import LlamaNasError
from llamanas.report.comparison import REFERENCES
from llamanas.report.questions import chance_of
from llamanas.report.results import Results
from llamanas.report.summary import FULL
from llamanas.report.words import points, times
from llamanas.settings import ROOT

CLAIMS = ROOT / "config/published_claims.yaml"
SCHEMA = ROOT / "workflow/schemas/claims.schema.yaml"
GUESSED = "not counted, since the full network is not shown to be better than guessing"


class Verdict(NamedTuple):
    """What this run has of a claim, in one sentence a line, and the verdict in a few words."""

    ours: list[str]
    verdict: str


def read_claims() -> dict:
    """The claims file, checked against its schema.

    Raises:
        LlamaNasError: it does not fit the schema.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    claims = yaml.safe_load(CLAIMS.read_text())
    if error := best_match(Draft202012Validator(yaml.safe_load(SCHEMA.read_text())).iter_errors(claims)):
        place = ".".join(map(str, error.absolute_path))
        raise LlamaNasError(f"{CLAIMS.name}: {place} is wrong: {error.message}. {SCHEMA.name} says what it may hold.")
    return claims


def judged_claims(results: Results, files: list[dict]) -> list[dict]:
    """The claims, each with the verdict of its comparison (keys ``ours`` and ``verdict``)."""
    claims = read_claims()
    same = all(getattr(results.shape, name) == value for name, value in claims["paper"]["model"].items())
    judged = []
    for claim in claims["claims"]:
        found = _COMPARISONS[claim["compare"]](results, files, claim.get("published"))
        verdict = found.verdict
        if not same and claim["kind"] != "method" and found.ours:
            verdict = f"not comparable: this run is not of {claims['paper']['model_name']}. Here: {verdict}"
        judged.append(claim | {"ours": found.ours, "verdict": verdict})
    return judged


def _size_ratio(results: Results, files: list[dict], published: float | None) -> Verdict:
    full, lines, ratios = results.shape.full.parameters(results.shape), [], []
    for task, picks in results.picks.items():
        if _may_guess(task, results):
            lines.append(f"{task}: {GUESSED}")
            continue
        passing = [row for row in picks if row["difference_ci_high"] >= 0]
        if not passing:
            ratios.append(1.0)
            lines.append(f"{task}: no pick passes the test of accuracy")
            continue
        best = min(passing, key=lambda row: row["parameters"])
        ratios.append(full / best["parameters"])
        low, high = points(best["difference_ci_low"]), points(best["difference_ci_high"])
        lines.append(
            f"{task}: {times(ratios[-1])} ({best['pick']}, {points(best['difference'])} points, {low} to {high}, "
            f"n = {best['n_report']})"
        )
    return Verdict(lines, _reached(ratios, published))


def _decode_speedup(results: Results, files: list[dict], published: float | None) -> Verdict:
    lines, ratios = [], []
    for task in results.picks:
        if _may_guess(task, results):
            lines.append(f"{task}: {GUESSED}")
            continue
        passing = [f for f in files if f["task"] == task and f["pick"] != FULL and f["difference_ci_high"] >= 0]
        if not passing:
            ratios.append(1.0)
            lines.append(f"{task}: no exported pick passes the test of accuracy")
            continue
        best = max(passing, key=lambda file: file["decode"].median)
        speed = best["decode"]
        ratios.append(speed.median)
        lines.append(
            f"{task}: {times(speed.median)} ({best['pick']} in {best['precision']}, rounds {speed.low:.2f} to "
            f"{speed.high:.2f}; {points(best['difference'])} points against the full network in fp32)"
        )
    return Verdict(lines, _reached(ratios, published))


def _may_guess(task: str, results: Results) -> bool:
    """Whether guessing may have the full network's accuracy, to which any network would then be equal."""
    chance = chance_of(results.questions.get(task, []))
    return chance is not None and results.picks[task][0]["full_report_ci_low"] <= chance


def _reached(ratios: list[float], published: float | None) -> str:
    if not ratios:
        return "not judged: on no task is the full network shown to be better than guessing"
    reached = sum(ratio >= (published or 0) for ratio in ratios)
    return f"reached on {reached} of {len(ratios)} tasks" if reached else "not reached"


def _quantized(results: Results, files: list[dict], published: float | None) -> Verdict:
    by_name = {(file["task"], file["pick"], file["precision"]): file for file in files}
    lines, holds = [], []
    for (task, pick, precision), file in by_name.items():
        if precision != "int8" or pick == FULL:
            continue
        whole = by_name[task, pick, "fp32"]
        change, ratio = file["accuracy"] - whole["accuracy"], whole["file_bytes"] / file["file_bytes"]
        holds.append(ratio > 1)
        lines.append(f"{task}, {pick}: {times(ratio)} smaller, {points(change)} points (n = {file['n']})")
    if not lines:
        return Verdict([], "not measured: no pick was exported in int8")
    return Verdict(lines, "smaller in every case" if all(holds) else "not smaller in every case")


def _baselines(results: Results, files: list[dict], published: float | None) -> Verdict:
    pruned = [row for row in results.baselines if row["method"] not in REFERENCES]
    if not pruned:
        return Verdict([], "not measured in this run; “snakemake baselines” measures it")
    ours = {(row["task"], _target(row, results)): row for row in results.baselines if row["method"] == "ours"}
    better, worse, lines = 0, 0, []
    for row in pruned:
        mine = ours.get((row["task"], _target(row, results)))
        if mine is None:
            continue
        better += mine["ci_low"] > row["ci_high"]
        worse += mine["ci_high"] < row["ci_low"]
    lines.append(
        f"of {len(pruned)} comparisons {better} are better and {worse} worse with intervals apart, the rest overlap"
    )
    return Verdict(lines, "better more often than worse" if better > worse else "not shown")


def _target(row: dict, results: Results) -> float:
    """The wanted ratio that a row was made for: networks come out a little smaller than wanted."""
    wanted = results.settings["baselines"]["ratios"]
    return max((ratio for ratio in wanted if ratio <= row["size_ratio"] + 1e-9), default=1.0)


def _one_fine_tuning(results: Results, files: list[dict], published: float | None) -> Verdict:
    settings = results.settings
    line = (
        f"{settings['finetune']['steps']} steps of the full network, {settings['supernet']['steps']} of the "
        f"super-network ({settings['supernet']['strategy']}), once for {len(results.picks)} tasks"
    )
    if settings["heal"]["steps"]:
        return Verdict([line, f"exported picks trained {settings['heal']['steps']} steps more"], "extended by healing")
    return Verdict(
        [line], "done so" if settings["finetune"]["steps"] + settings["supernet"]["steps"] else "not trained"
    )


def _genetic_search(results: Results, files: list[dict], published: float | None) -> Verdict:
    search = results.settings["search"]
    measured = ", ".join(f"{len(rows)} for {task}" for task, rows in results.archives.items())
    line = (
        f"{search['algorithm']}, population {search['population']}, generation 0 and {search['generations']} more; "
        f"networks measured: {measured}"
    )
    return Verdict(
        [line], "done so" if search["algorithm"] in ("linas", "nsga2") else "another algorithm was asked for"
    )


_COMPARISONS: dict[str, Callable[[Results, list[dict], float | None], Verdict]] = {
    "size_ratio": _size_ratio,
    "decode_speedup": _decode_speedup,
    "quantized": _quantized,
    "baselines": _baselines,
    "one_fine_tuning": _one_fine_tuning,
    "genetic_search": _genetic_search,
}
