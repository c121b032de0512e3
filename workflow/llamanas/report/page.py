"""The page: everything of the report in one HTML file that needs no network, no server and no JavaScript."""

import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from llamanas.artifacts import whole_file
from llamanas.benchmark.latency import sum_error
from llamanas.report import words
from llamanas.report.claims import judged_claims, read_claims
from llamanas.report.comparison import REFERENCES
from llamanas.report.files import exported_files, further_timings, recommended
from llamanas.report.questions import question_view
from llamanas.report.results import Results
from llamanas.report.strip import strip
from llamanas.report.style import themed
from llamanas.report.summary import FULL
from llamanas.report.transfer import ALIKE, transfer_tables, transfer_verdict
from llamanas.report.worth import ladder_rows, search_verdict
from llamanas.select.front import selection_shift

SMALL = 100  # measured networks of a task: a search of fewer does not get beyond the start of a published one

_FILTERS = (words.percent, words.points, words.millions, words.megabytes, words.times, words.count, words.duration)


def write_page(destination: Path, results: Results, summary: list[dict], figures: dict[str, dict[str, str]]) -> None:
    """Write the page; equal arguments give equal bytes.

    Args:
        destination: the HTML file to write.
        results: the tables of the experiment.
        summary: rows of artifact ``summary``.
        figures: SVG texts as :func:`llamanas.report.write.draw_all` gives them: groups of figures by task, and
            ``training`` by name. The page has a section for what is there and none for what is not.

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
    environment.globals |= {"interval": words.interval, "noise_verdict": words.noise_verdict, "strip": strip}
    environment.globals |= {"network_id": words.network_id, "not_worse": words.not_worse}
    environment.globals |= {"score_in_words": words.score_in_words}
    tasks = [task_view(task, results, summary) for task in results.archives]
    ladder, measured = ladder_rows(results), max(task["measured"] for task in tasks)
    smaller = [row for task in tasks for row in task["picks"] if row["architecture"] != task["full"]]
    text = environment.get_template("page.html.j2").render(
        results=results,
        latency_error=sum_error(results.latency_checks) if results.latency_checks else None,
        settings=results.settings,
        shape=results.shape,
        full_parameters=results.shape.full.parameters(results.shape),
        model=words.model_name(results.settings["model"]["source"]),
        tasks=tasks,
        small=measured if measured < SMALL else None,
        transfer={
            "tables": transfer_tables(results.transfer),
            "verdict": transfer_verdict(results.transfer, results.settings["select"]["confidence"]),
        },
        ladder={"rows": ladder, "verdict": search_verdict(ladder, smaller) if ladder else None, "alike": ALIKE},
        paper=read_claims()["paper"],
        claims=judged_claims(results, [file for task in tasks for file in task["files"]]),
        rules={name: rule_in_words(results, rule) for name, rule in results.settings["select"]["picks"].items()},
        conditions=timing_conditions(results.speed),
        configuration=json.dumps(results.settings, indent=2, sort_keys=True),
        figures={kind: {name: Markup(themed(svg)) for name, svg in group.items()} for kind, group in figures.items()},
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
        "references": {
            row["method"]: row for row in results.baselines if row["task"] == task and row["size_ratio"] == 1
        },
        "pruned": any(row["method"] not in REFERENCES for row in results.baselines),
        "healing": healing,
        "healing_tau": rank_agreement(healing),
        "name": task,
        "questions": question_view(results.questions.get(task, [])),
        "measured": len(archive),
        "members": len(front),
        "smaller": len(smaller),
        "within_noise": sum(row["within_noise"] for row in smaller),
        "shift": selection_shift(front, next(row for row in archive if row["architecture"] == full)),
        "n_search": archive[0]["n_search"],
        "n_report": front[0]["n_report"],
        "full": full,
        "picks": pick_rows(task, results),
        "files": files,
        "timings": further_timings(task, results),
        "headlines": headlines(task, results, files),
        "take": recommended(files) if files else None,
        "networks": network_rows(task, results),
    }


def pick_rows(task: str, results: Results) -> list[dict]:
    """Rows of the picks with ``rung``, whether they are the importance ladder's.

    Of a healed one, accuracy and difference from the full network are those after healing.
    """
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
        rows.append(row | {"rung": row["architecture"] in results.rungs})
    return rows


def network_rows(task: str, results: Results) -> list[dict]:
    """The members of the front and the picks from small to large.

    Each with the names (``picks``) it goes by, those that were exported, whether it is a ``member`` of the front, and
    whether it is the importance ladder's (``rung``).
    """
    names: dict[str, list[str]] = {}
    for row in results.picks[task]:
        names.setdefault(row["architecture"], []).append(row["pick"])
    rows = {row["architecture"]: row for row in [*results.picks[task], *results.fronts[task]]}
    on_front = {row["architecture"] for row in results.fronts[task]}
    exported = [FULL, *results.settings["export"]["picks"]]
    networks = []
    for name, row in sorted(rows.items(), key=lambda item: (item[1]["parameters"], item[0])):
        picks = names.get(name, [])
        files = [pick for pick in picks if pick in exported]
        about = {"picks": picks, "exported": files, "member": name in on_front, "rung": name in results.rungs}
        networks.append(row | about)
    return networks


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
