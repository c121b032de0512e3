"""The figure of the baselines: accuracy of published pruning methods against size, beside the picks of the search."""

from itertools import cycle

from matplotlib.axes import Axes

from llamanas.report.front import draw_chance
from llamanas.report.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, VERMILION, drawing

REFERENCES = {"pretrained": "base model", "finetuned": "fine-tuned full network", "ours": "ladder, no search"}
_COLORS = VERMILION, GREEN, PURPLE, INK, GREY, ORANGE
_MARKERS = "s^vDPX<>hp"  # one for each series, since colours come again


def draw_comparison(task: str, baselines: list[dict], picks: list[dict], chance: float | None) -> str:
    """SVG of accuracy with confidence intervals on the report split: rows of artifact ``baselines`` and the picks.

    ``chance`` is the accuracy of guessing, if there is one.
    """
    series: dict[str, list[dict]] = {}
    for row in baselines:
        series.setdefault(REFERENCES.get(row["method"], row["method"].replace("_", " ")), []).append(row)
    with drawing(f"comparison {task}", f"Picks and baselines for {task}", 4.2) as drawn:
        axes = drawn.figure.subplots()
        places = [
            (row["parameters"], *(row[f"report_{name}"] for name in ("accuracy", "ci_low", "ci_high"))) for row in picks
        ]
        _series(axes, "picks of this search", places, "o", BLUE)
        for (label, rows), color, marker in zip(sorted(series.items()), cycle(_COLORS), cycle(_MARKERS), strict=False):
            places = [(row["parameters"], row["accuracy"], row["ci_low"], row["ci_high"]) for row in rows]
            _series(axes, label, places, marker, color)
        draw_chance(axes, chance)
        axes.set(
            xlabel="parameters (millions)", ylabel="accuracy (%)", title=f"Report split, {baselines[0]['n']} questions"
        )
        drawn.figure.legend(loc="outside lower center", ncols=2)
    return drawn.svg


def _series(axes: Axes, label: str, places: list[tuple[int, float, float, float]], marker: str, color: str) -> None:
    """Points of (parameters, accuracy, low, high), from small to large."""
    sizes, accuracies, lows, highs = zip(*sorted(set(places)), strict=True)
    bars = [[100 * (a - low) for a, low in zip(accuracies, lows, strict=True)],
            [100 * (high - a) for a, high in zip(accuracies, highs, strict=True)]]  # fmt: skip
    axes.errorbar([size / 1e6 for size in sizes], [100 * a for a in accuracies], bars, fmt=f"{marker}-", color=color,
                  linewidth=0.8, elinewidth=0.6, capsize=2, markersize=5, label=label)  # fmt: skip
