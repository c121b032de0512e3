"""Whether the search was worth it: its fronts beside the importance ladder's networks, which take no search."""

from llamanas.report.results import Results
from llamanas.report.transfer import alike
from llamanas.report.words import points
from llamanas.select.front import EXPECTED


def ladder_rows(results: Results) -> list[dict]:
    """Each task's ladder networks beside the front's network that one would take at their size.

    That is the one of the best expected score among those that are not larger; where there is none of like size the
    ladder network is left out. Rows of artifact ``baselines`` with ``found``, that row of the front, and
    ``difference``, its accuracy minus the ladder network's.
    """
    rows = []
    for row in results.baselines:
        if row["method"] != "ours":
            continue
        within = [each for each in results.fronts[row["task"]] if each["parameters"] <= row["parameters"]]
        found = max(within, key=lambda each: each[EXPECTED], default=None)
        if found and alike(found, row):
            rows.append(row | {"found": found, "difference": found["report_accuracy"] - row["accuracy"]})
    return rows


def search_verdict(rows: list[dict]) -> str:
    """What rows of :func:`ladder_rows`, at least one, say of the search."""
    more = sum(row["difference"] > 0 for row in rows)
    less = sum(row["difference"] < 0 for row in rows)
    better = sum(row["found"]["report_ci_low"] > row["ci_high"] for row in rows)
    worse = sum(row["found"]["report_ci_high"] < row["ci_low"] for row in rows)
    mean = sum(row["difference"] for row in rows) / len(rows)
    apart = (
        f"lie apart in {better + worse}, {worse} of them to its disadvantage" if better + worse else "overlap in all"
    )
    start = (
        f"Of {len(rows)} comparisons at the sizes of the ladder's networks, the front's network is more accurate in "
        f"{more} and less accurate in {less}, {points(mean)} points in the mean; the intervals {apart}. "
    )
    if better > worse and mean > 0:
        return start + "The search found better networks than the ladder."
    return start + "This run does not show that the search found better networks than the ladder."
