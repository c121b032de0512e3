"""Whether the search was worth it: its fronts beside the importance ladder's networks, which take no search."""

from llamanas.report.results import Results
from llamanas.report.transfer import alike
from llamanas.report.words import points
from llamanas.select.front import EXPECTED


def ladder_rows(results: Results) -> list[dict]:
    """Each task's ladder networks beside the front's network that one would take at their size.

    That is the one of the best expected score among those that are not larger. Rows of artifact ``baselines`` with
    ``found``, that row of the front or None, ``difference``, its accuracy minus the ladder network's, or None where it
    is not of like size, and ``own``, whether it is a network of the ladder itself.
    """
    rows = []
    for row in results.baselines:
        if row["method"] != "ours":
            continue
        within = [each for each in results.fronts[row["task"]] if each["parameters"] <= row["parameters"]]
        found = max(within, key=lambda each: each[EXPECTED], default=None)
        row = row | {"found": found, "difference": None, "own": False}
        if found and alike(found, row):
            row["difference"] = found["report_accuracy"] - row["accuracy"]
            row["own"] = found["architecture"] in results.rungs
        rows.append(row)
    return rows


def search_verdict(rows: list[dict], picks: list[dict]) -> str:
    """What rows of :func:`ladder_rows`, at least one, say of the search.

    ``picks`` are those that are smaller than the full network, with ``rung``, whether they are networks of the ladder.
    """
    compared = [row for row in rows if row["difference"] is not None]
    searched = [row for row in compared if not row["own"]]
    text = (
        f"Networks of the ladder that the fronts are compared with: {len(rows)}; of like size on the fronts: "
        f"{len(compared)}, the ladder's own among these: {len(compared) - len(searched)}. "
    )
    shown = False
    if searched:
        more, less = (sum(sign * row["difference"] > 0 for row in searched) for sign in (1, -1))
        better = sum(row["found"]["report_ci_low"] > row["ci_high"] for row in searched)
        worse = sum(row["found"]["report_ci_high"] < row["ci_low"] for row in searched)
        mean = sum(row["difference"] for row in searched) / len(searched)
        text += (
            f"Of the rest, more accurate than the ladder's: {more}, less accurate: {less}, {points(mean)} points in "
            f"the mean; with intervals apart: {better} for the search, {worse} against it. "
        )
        shown = better > worse and mean > 0
    if picks:
        text += (
            f"Picks smaller than the full network: {len(picks)}, of the ladder: {sum(row['rung'] for row in picks)}. "
        )
    if shown:
        return text + "The search found better networks than the ladder."
    return text + "This run does not show that the search found better networks than the ladder."
