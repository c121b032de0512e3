"""Whether the search was worth it: its fronts beside the importance ladder's networks, which take no search."""

from llamanas.report.results import Results
from llamanas.report.transfer import alike
from llamanas.report.words import points
from llamanas.select.front import EXPECTED


def ladder_rows(results: Results) -> list[dict]:
    """Each task's ladder networks beside the front's network that one would take at their size.

    That is the one of the best expected score among those that are not larger. Rows of artifact ``baselines`` with
    ``found``, that row of the front or None, ``same``, whether it is the ladder's network itself, and ``difference``,
    its accuracy minus the ladder network's, or None where it is not of like size.
    """
    rows = []
    for row in results.baselines:
        if row["method"] != "ours":
            continue
        within = [each for each in results.fronts[row["task"]] if each["parameters"] <= row["parameters"]]
        found = max(within, key=lambda each: each[EXPECTED], default=None)
        row = row | {"found": found, "difference": None, "same": False}
        if found and alike(found, row):
            row["difference"] = found["report_accuracy"] - row["accuracy"]
            # The ladder has one network of a size.
            row["same"] = found["architecture"] in results.rungs and found["parameters"] == row["parameters"]
        rows.append(row)
    return rows


def search_verdict(rows: list[dict]) -> str:
    """What rows of :func:`ladder_rows`, at least one, say of the search."""
    compared = [row for row in rows if row["difference"] is not None]
    others = [row for row in compared if not row["same"]]
    start = (
        f"Over all tasks {len(rows)} networks of the ladder were measured. In {len(compared)} cases the front has one "
        f"of like size, which in {len(compared) - len(others)} is the ladder's own. "
    )
    shown = False
    if others:
        more, less = (sum(sign * row["difference"] > 0 for row in others) for sign in (1, -1))
        better = sum(row["found"]["report_ci_low"] > row["ci_high"] for row in others)
        worse = sum(row["found"]["report_ci_high"] < row["ci_low"] for row in others)
        mean = sum(row["difference"] for row in others) / len(others)
        apart = f"lie apart in {better + worse}, {worse} of them to its disadvantage" if better + worse else "overlap"
        start += (
            f"In the other {len(others)} the front's is more accurate in {more} and less accurate in {less}, "
            f"{points(mean)} points in the mean; the intervals {apart}. "
        )
        shown = better > worse and mean > 0
    if shown:
        return start + "The search found better networks than the ladder."
    return start + "This run does not show that the search found better networks than the ladder."
