"""The page: everything of the report in one HTML file that needs no network, no server and no JavaScript."""

import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from llamanas.artifacts import whole_file
from llamanas.report import words
from llamanas.report.results import Results
from llamanas.report.summary import FULL, paired_ratio, speed_key, speed_rounds
from llamanas.select.front import selection_shift

_FILTERS = (words.percent, words.points, words.millions, words.megabytes, words.times, words.count)


def write_page(destination: Path, results: Results, summary: list[dict], figures: dict[str, dict[str, str]]) -> None:
    """Write the page; equal arguments give equal bytes.

    Args:
        destination: the HTML file to write.
        results: the tables of the experiment.
        summary: rows of artifact ``summary``.
        figures: SVG texts as :func:`llamanas.report.write.draw_all` gives them: ``fronts`` and ``architectures`` by
            task, and ``training`` by name, which may be empty.

    Raises:
        LlamaNasError: no space is left on the device.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {function.__name__: function for function in _FILTERS}
    environment.globals |= {"interval": words.interval, "noise_verdict": words.noise_verdict}
    text = environment.get_template("page.html.j2").render(
        results=results,
        settings=results.settings,
        shape=results.shape,
        full_parameters=results.shape.full.parameters(results.shape),
        model=words.model_name(results.settings["model"]["source"]),
        tasks=[task_view(task, results, summary) for task in results.archives],
        rules={name: rule_in_words(results, rule) for name, rule in results.settings["select"]["picks"].items()},
        conditions=timing_conditions(results.speed),
        configuration=json.dumps(results.settings, indent=2, sort_keys=True),
        figures={kind: {name: Markup(svg) for name, svg in group.items()} for kind, group in figures.items()},
    )
    with whole_file(destination) as temporary:
        temporary.write_text(text, encoding="utf-8")


def rank_agreement(healing: list[dict]) -> float | None:
    """Kendall's tau-b of the picks' accuracies before and after healing; None for fewer than three, or all equal."""
    from scipy.stats import kendalltau

    if len(healing) < 3:
        return None
    tau = kendalltau(*([row[f"accuracy_{name}"] for row in healing] for name in ("before", "after"))).statistic
    return None if tau != tau else float(tau)


def rule_in_words(results: Results, rule: dict) -> str:
    """What a rule of the configuration chooses."""
    return words.rule_in_words(rule, results.settings["search"]["objective"])


def task_view(task: str, results: Results, summary: list[dict]) -> dict:
    """What the page shows of one task: its picks, its exported files, and how many architectures were measured."""
    archive, front = results.archives[task], results.fronts[task]
    full = results.shape.full.id
    smaller = [row for row in front if row["architecture"] != full]
    files = exported_files(task, results, summary)
    healing = [row for row in results.healing if row["task"] == task]
    return {
        "healing": healing,
        "healing_tau": rank_agreement(healing),
        "name": task,
        "measured": len(archive),
        "members": len(front),
        "smaller": len(smaller),
        "within_noise": sum(row["within_noise"] for row in smaller),
        "shift": selection_shift(front, next(row for row in archive if row["architecture"] == full)),
        "n_search": archive[0]["n_search"],
        "n_report": front[0]["n_report"],
        "picks": pick_rows(task, results),
        "files": files,
        "headlines": headlines(task, results, files),
    }


def pick_rows(task: str, results: Results) -> list[dict]:
    """Rows of the picks; of a healed one, accuracy and difference from the full network are those after healing."""
    healed = {row["pick"]: row for row in results.healing if row["task"] == task}
    rows = []
    for row in results.picks[task]:
        row = row | {"full_architecture": results.shape.full.id}
        if after := healed.get(row["pick"]):
            low, high = after["full_difference_ci_low"], after["full_difference_ci_high"]
            row |= {
                "report_accuracy": after["accuracy_after"],
                "report_ci_low": after["after_ci_low"],
                "report_ci_high": after["after_ci_high"],
                "difference": after["full_difference"],
                "difference_ci_low": low,
                "difference_ci_high": high,
                "within_noise": low <= 0 <= high,
            }
        rows.append(row)
    return rows


def exported_files(task: str, results: Results, summary: list[dict]) -> list[dict]:
    """Summary rows of a task with the spread of their speed ratios over the rounds, and a verdict."""
    rounds = speed_rounds(results.speed)
    files = []
    for row in summary:
        if row["task"] != task:
            continue
        timed = rounds[speed_key((task, row["pick"], row["precision"]))]
        prefill, decode = (paired_ratio(timed, phase) for phase in ("prefill", "decode"))
        warn, verdict = words.speed_verdict(row["pick"], row["size_ratio"], prefill, decode)
        files.append(row | {"prefill": prefill, "decode": decode, "warn": warn, "verdict": verdict})
    return files


def headlines(task: str, results: Results, files: list[dict]) -> list[dict]:
    """Each exported pick with its row of picks and its most compressed file, which is what one would deploy."""
    picks = {row["pick"]: row for row in pick_rows(task, results)}
    by_size = sorted(files, key=lambda row: -row["file_bytes"])
    smallest = {row["pick"]: row for row in by_size if row["pick"] != FULL}  # the last of each pick stays
    return [{"pick": picks[name], "file": smallest[name]} for name in picks if name in smallest]


def timing_conditions(speed: list[dict]) -> list[dict]:
    """The distinct conditions under which speed was measured; several mean that speeds do not all compare."""
    names = ("runtime", "hardware", "threads", "prompt_tokens", "new_tokens")
    distinct = sorted({tuple(row[name] for name in names) for row in speed})
    return [dict(zip(names, values, strict=True)) for values in distinct]
