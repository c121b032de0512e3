"""The figure of how a search got on: hypervolume of the front against the number of measured networks."""

from itertools import cycle

from matplotlib.ticker import MaxNLocator

from llamanas.report.style import BLUE, GREEN, INK, PURPLE, VERMILION, drawing
from llamanas.select.statistics import hypervolume


def volumes(archive: list[dict], cost: str, score: str) -> list[float]:
    """Hypervolume after each measurement, as a share of that of the whole archive, in the order of the archive.

    The reference point is the full network's cost and the lowest score measured, so that only networks no larger than
    the full one count.
    """
    full = next(row[cost] for row in archive if row["origin"] == "full")
    reference = 1.0, min(row[score] for row in archive)
    costs, scores = [row[cost] / full for row in archive], [row[score] for row in archive]
    reached = [hypervolume(costs[:count], scores[:count], reference) for count in range(1, len(archive) + 1)]
    return [volume / reached[-1] if reached[-1] else 0.0 for volume in reached]


def draw_progress(archives: dict[str, list[dict]], cost: str, score: str) -> str:
    """SVG of the hypervolume of each task's search; dotted lines part its generations."""
    with drawing("progress", "Hypervolume of each search against measured networks", 2.8) as drawn:
        axes = drawn.figure.subplots()
        for (task, archive), color, dashes in zip(
            archives.items(), cycle([BLUE, VERMILION, GREEN, PURPLE, INK]), cycle(["-", "--", "-.", ":"]), strict=False
        ):
            steps = range(1, len(archive) + 1)
            axes.step(steps, volumes(archive, cost, score), where="post", color=color, linestyle=dashes, label=task)
        longest = max(archives.values(), key=len)
        for number, (one, other) in enumerate(zip(longest, longest[1:], strict=False), 1):
            if one["generation"] != other["generation"]:
                axes.axvline(number + 0.5, color=INK, linewidth=0.6, linestyle=":")
        axes.set(xlabel="measured networks", ylabel="share of the final\nhypervolume", ylim=(0, 1.05))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        drawn.figure.legend(loc="outside lower center", ncols=2)
    return drawn.svg
