"""The figure of a front: reported accuracy against size, and below it what the search saw."""

from collections.abc import Collection
from typing import Any

from matplotlib.axes import Axes

from llamanas.architecture import ModelShape
from llamanas.report.style import BLUE, GREY, INK, ORANGE, WIDTH, Drawing, drawing
from llamanas.report.words import network_id, percent, points

_AXES_WIDTH = WIDTH - 0.7  # inches, about
_LETTER = 0.07  # inches that a letter of a label takes, on average and a little more
_STAR: dict[str, Any] = {"marker": "*", "color": ORANGE, "markeredgecolor": INK, "markersize": 12}
SCORE_LABELS = {"search_score": "search score", "search_accuracy": "search accuracy (%)"}


def draw_front(
    task: str,
    archive: list[dict],
    front: list[dict],
    picks: list[dict],
    shape: ModelShape,
    score: str,
    chance: float | None,
) -> str:
    """SVG of a task's front in two panels that share the axis of sizes.

    Above, accuracy on the report split with confidence intervals of the front's members, the picks and the full
    network, whose interval is a band; filled members cannot be told from the full network. Below, ``score`` on the
    search split of every measured network: other items, so never on one axis with the first. ``chance`` is the accuracy
    of guessing, if there is one.
    """
    full = shape.full
    shown = {row["architecture"]: row for row in [*front, *picks]}
    members = {name: row for name, row in shown.items() if name != full.id}
    with drawing(f"front {task}", f"Accuracy against size of the front for {task}", 5.2) as drawn:
        report, search = drawn.figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        _draw_full(report, front[0], full.parameters(shape))
        _draw_members(report, list(members.values()))
        draw_chance(report, chance)
        _draw_search(search, archive, {row["architecture"] for row in front}, full.id, score)
        _mark_members(drawn, report, task, list(shown.values()))
        _mark_searched(drawn, search, task, archive, shown.keys(), score)
        top = _name_picks(report, picks)
        report.set(ylabel="accuracy (%)")
        report.set_title(f"Report split, {front[0]['n_report']} questions", y=top)
        search.set(title=f"Search split, {archive[0]['n_search']} other questions")
        search.set(xlabel="parameters (millions)", ylabel=SCORE_LABELS[score])
        labelled = [axes.get_legend_handles_labels() for axes in (report, search)]
        legend = {label: handle for handles, labels in labelled for handle, label in zip(handles, labels, strict=True)}
        drawn.figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=2)
    return drawn.svg


def _draw_full(axes: Axes, row: dict, parameters: int) -> None:
    """The full network: a star, its accuracy as a line and its confidence interval as a band."""
    accuracy = 100 * row["full_report_accuracy"]
    low, high = 100 * row["full_report_ci_low"], 100 * row["full_report_ci_high"]
    axes.axhline(accuracy, color=ORANGE, linewidth=1)
    axes.plot(parameters / 1e6, accuracy, label="full network", zorder=4, linestyle="none", **_STAR)
    axes.axhspan(low, high, color=ORANGE, alpha=0.2, linewidth=0, label="interval of full network")


def draw_chance(axes: Axes, chance: float | None) -> None:
    """A line at the accuracy that guessing has, where accuracies are in percent."""
    if chance is not None:
        axes.axhline(100 * chance, color=GREY, linewidth=1, linestyle="--", label="guessing", zorder=1)


def _draw_members(axes: Axes, rows: list[dict]) -> None:
    """Members with their confidence intervals, filled where the difference from the full network is within noise."""
    for within, fill, label in ((True, BLUE, "within noise of full"), (False, "white", "differs from full")):
        chosen = [row for row in rows if row["within_noise"] == within]
        if not chosen:
            continue
        accuracies = [row["report_accuracy"] for row in chosen]
        below = [100 * (a - row["report_ci_low"]) for a, row in zip(accuracies, chosen, strict=True)]
        above = [100 * (row["report_ci_high"] - a) for a, row in zip(accuracies, chosen, strict=True)]
        axes.errorbar(
            [row["parameters"] / 1e6 for row in chosen], [100 * a for a in accuracies], [below, above],
            fmt="o", color=BLUE, markerfacecolor=fill, markersize=6, elinewidth=1, capsize=2, label=label, zorder=3,
        )  # fmt: skip


def _draw_search(axes: Axes, archive: list[dict], front: set[str], full: str, score: str) -> None:
    """Every measured network by its score on the search split."""
    scale = 100 if score == "search_accuracy" else 1
    kinds: tuple[tuple[str, list[dict], dict[str, Any]], ...] = (
        ("measured in the search", [row for row in archive if row["architecture"] not in front | {full}],
         {"marker": "o", "color": GREY, "alpha": 0.5, "markersize": 4, "markeredgewidth": 0}),
        ("member of the front", [row for row in archive if row["architecture"] in front - {full}],
         {"marker": "D", "color": BLUE, "markersize": 5}),
        ("full network", [row for row in archive if row["architecture"] == full],
         _STAR),
    )  # fmt: skip
    for label, rows, look in kinds:
        if rows:
            sizes = [row["parameters"] / 1e6 for row in rows]
            axes.plot(sizes, [scale * row[score] for row in rows], label=label, linestyle="none", **look)


def _mark_members(drawn: Drawing, axes: Axes, task: str, rows: list[dict]) -> None:
    """An invisible disc over each member, large enough for a finger, that leads to what the page has of it."""
    for row in rows:
        title = f"{row['architecture']}: {percent(row['report_accuracy'])}, {points(row['difference'])} points to full"
        url = drawn.mark(title, network_id(task, row["architecture"]))
        _disc(axes, row["parameters"] / 1e6, 100 * row["report_accuracy"], url)


def _mark_searched(
    drawn: Drawing, axes: Axes, task: str, archive: list[dict], members: Collection[str], score: str
) -> None:
    scale = 100 if score == "search_accuracy" else 1
    for row in archive:
        title = (
            f"{row['architecture']} ({row['origin']}): {row['depth']} layers, search score {row['search_score']:.3f}"
        )
        target = network_id(task, row["architecture"]) if row["architecture"] in members else ""
        _disc(axes, row["parameters"] / 1e6, scale * row[score], drawn.mark(title, target))


def _disc(axes: Axes, x: float, y: float, url: str) -> None:
    axes.scatter([x], [y], s=120, alpha=0, linewidths=0, zorder=6).set_urls([url])


def _name_picks(axes: Axes, picks: list[dict]) -> float:
    """The picks' names above the axes, each over its network, in as many rows as keep them apart.

    Returns the height above the names, as a multiple of that of the axes.
    """
    names: dict[tuple[float, float], list[str]] = {}
    for row in picks:
        names.setdefault((row["parameters"] / 1e6, 100 * row["report_accuracy"]), []).append(row["pick"])
    low, high = axes.get_xlim()
    ends: list[float] = []  # where each row of labels is taken up to, in inches
    for (size, accuracy), together in sorted(names.items()):
        text = ", ".join(together)
        width, at = len(text) * _LETTER, (size - low) / (high - low) * _AXES_WIDTH
        left = min(max(at - width / 2, 0), _AXES_WIDTH - width)
        level = next((index for index, end in enumerate(ends) if end <= left), len(ends))
        ends[level : level + 1] = [left + width]
        place = ((left + width / 2) / _AXES_WIDTH, 1.02 + 0.065 * level)
        line = {"arrowstyle": "-", "color": INK, "linewidth": 0.6, "linestyle": ":", "shrinkA": 0}
        axes.annotate("", (size, accuracy), place, textcoords="axes fraction", arrowprops=line, zorder=2)
        # On white, so that the line of another name passes behind.
        ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        axes.text(*place, text, transform=axes.transAxes, ha="center", va="bottom", bbox=ground, color=INK, zorder=5)
    return 1.03 + 0.065 * len(ends)
