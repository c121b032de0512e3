"""The figure of how search algorithms compare."""

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
