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
        compared = found is not None and alike(found, row)
        rows.append(
            row
            | {"found": found, "difference": found["report_accuracy"] - row["accuracy"] if compared else None}
            # The ladder has one network of a size.
            | {"same": compared and found["architecture"] in results.rungs and found["parameters"] == row["parameters"]}
        )
    return rows


def search_verdict(rows: list[dict]) -> str:
    """What rows of :func:`ladder_rows`, at least one, say of the search."""
    compared = [row for row in rows if row["difference"] is not None]
    others = [row for row in compared if not row["same"]]
    start = (
        f"The ladder was measured at {len(rows)} sizes. At {len(compared)} of them the front has a network of like "
        f"size, which at {len(compared) - len(others)} is the ladder's own. "
    )
    shown = False
    if others:
        more, less = (sum(sign * row["difference"] > 0 for row in others) for sign in (1, -1))
        better = sum(row["found"]["report_ci_low"] > row["ci_high"] for row in others)
        worse = sum(row["found"]["report_ci_high"] < row["ci_low"] for row in others)
        mean = sum(row["difference"] for row in others) / len(others)
        apart = f"lie apart at {better + worse}, {worse} of them to its disadvantage" if better + worse else "overlap"
        start += (
            f"At the other {len(others)} the front's is more accurate at {more} and less accurate at {less}, "
            f"{points(mean)} points in the mean; the intervals {apart}. "
        )
        shown = better > worse and mean > 0
    if shown:
        return start + "The search found better networks than the ladder."
    return start + "This run does not show that the search found better networks than the ladder."
