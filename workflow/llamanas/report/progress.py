"""The figure of how a search got on: hypervolume of the front against the number of measured networks."""

from itertools import cycle

from matplotlib.ticker import MaxNLocator

from llamanas.report.style import BLUE, GREEN, INK, PURPLE, VERMILION, drawing
from llamanas.select.front import on_all_items
from llamanas.select.statistics import hypervolume


def volumes(archive: list[dict], cost: str, score: str) -> list[float]:
    """Hypervolume after each measurement on all items, as a share of that of the whole archive, in its order.

    The reference point is the full network's cost and the lowest score measured, so that only networks no larger than
    the full one count.
    """
    archive = on_all_items(archive)
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
            reached = volumes(archive, cost, score)
            axes.step(range(1, len(reached) + 1), reached, where="post", color=color, linestyle=dashes, label=task)
        longest = max(map(on_all_items, archives.values()), key=len)
        for number, (one, other) in enumerate(zip(longest, longest[1:], strict=False), 1):
            if one["generation"] != other["generation"]:
                axes.axvline(number + 0.5, color=INK, linewidth=0.6, linestyle=":")
        axes.set(xlabel="measured networks", ylabel="share of the final\nhypervolume", ylim=(0, 1.05))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        drawn.figure.legend(loc="outside lower center", ncols=2)
    return drawn.svg
