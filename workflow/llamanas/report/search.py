"""Figures about searches: how algorithms compare, and whether picks transfer to other tasks."""

from itertools import cycle

import numpy as np

from llamanas.report.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, VERMILION, drawing


def draw_comparison(rows: list[dict]) -> str:
    """SVG of the median hypervolume of each algorithm against measurements, with its interquartile range.

    ``rows`` have the columns ``algorithm``, ``seed``, ``measurements`` and ``hypervolume``.
    """
    with drawing("comparison", "Hypervolume of search algorithms against measured networks", 4.2) as drawn:
        axes = drawn.figure.subplots()
        colors, dashes = cycle([BLUE, VERMILION, GREEN, PURPLE, INK, ORANGE, GREY]), cycle(["-"] * 7 + ["--"] * 7)
        for name in dict.fromkeys(row["algorithm"] for row in rows):
            mine = [row for row in rows if row["algorithm"] == name]
            counts = np.unique([row["measurements"] for row in mine])
            by_count = {count: [row["hypervolume"] for row in mine if row["measurements"] == count] for count in counts}
            low, median, high = np.array([np.quantile(by_count[c], [0.25, 0.5, 0.75]) for c in counts]).T
            color, label = next(colors), f"{name} ({len({row['seed'] for row in mine})} seeds)"
            axes.plot(counts, median, color=color, linestyle=next(dashes), linewidth=1.2, label=label)
            axes.fill_between(counts, low, high, color=color, alpha=0.12, linewidth=0)
        axes.set(xlabel="measured networks", ylabel="hypervolume, median of seeds", ylim=(0, None))
        drawn.figure.legend(loc="outside lower center", ncols=2, fontsize=7)
    return drawn.svg


def draw_transfer(rows: list[dict]) -> str:
    """SVG of a matrix for each pick but the full network: accuracy on each task of the pick of each task's search.

    The color of a field is the accuracy minus that of the pick that was searched for that task itself. ``rows`` are of
    artifact ``transfer``.
    """
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    picks = [pick for pick in dict.fromkeys(row["pick"] for row in rows) if pick != "full"]
    found = {(row["pick"], row["searched"], row["task"]): row["report_accuracy"] for row in rows}
    accuracy = np.array([[[found[pick, searched, task] for task in tasks] for searched in tasks] for pick in picks])
    gain = 100 * (accuracy - np.diagonal(accuracy, axis1=1, axis2=2)[:, None, :])
    limit = max(abs(gain).max(initial=0), 0.1)
    height = 0.45 * len(tasks) + 0.9
    with drawing("transfer", "Accuracy of each task's picks on every task", height * max(len(picks), 1) + 0.6) as drawn:
        grid = drawn.figure.subplots(max(len(picks), 1), 1, squeeze=False)[:, 0]
        image = None
        for axes, pick, values, colors in zip(grid, picks, accuracy, gain, strict=False):
            image = axes.imshow(colors, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto")
            for (line, column), value in np.ndenumerate(values):
                axes.text(column, line, f"{100 * value:.1f}", ha="center", va="center", color=INK)
            axes.set(title=f"{pick}: accuracy in %", ylabel="searched on")
            axes.set_xticks(range(len(tasks)), tasks)
            axes.set_yticks(range(len(tasks)), tasks)
            axes.grid(visible=False)
        grid[-1].set_xlabel("measured on")
        if image is not None:
            drawn.figure.colorbar(image, ax=grid, label="points more than\nthe task's own pick")
    return drawn.svg
