"""The Pareto front of the archive, and its rows with accuracy on the report split."""

from collections import defaultdict
from operator import le
from statistics import fmean

from llamanas.errors import LlamaNasError
from llamanas.randomness import generator
from llamanas.select.picks import full_id, pick
from llamanas.select.statistics import paired_difference, wilson_interval

EXPECTED = "expected_score"  # of a row: what decides who is in the front (expected.py)


def objectives(search: dict) -> list[str]:
    """The costs that section ``search`` of the config minimizes, the first of which picks and figures go by."""
    return [search["objective"], *([search["second_objective"]] if search["second_objective"] else [])]


def find_front(archive: list[dict], score: str, *costs: str) -> list[dict]:
    """The rows that no other row dominates, by rising first cost.

    A row dominates another if it costs no more and scores no less, and is better in one of them. Rows equal in all
    stay together. Rows that racing dropped, measured on fewer items than others, are left out.
    """
    front: list[dict] = []
    values: list[list[float]] = []  # of the front; all are to be minimized
    for row in sorted(on_all_items(archive), key=lambda r: ([r[c] for c in costs], -r[score], r["architecture"])):
        own = [*(row[cost] for cost in costs), -row[score]]
        # What comes later costs more, so that it dominates nothing before it; the last ones score best.
        if not any(all(map(le, other, own)) and other != own for other in reversed(values)):
            front.append(row)
            values.append(own)
    return front


def on_all_items(archive: list[dict]) -> list[dict]:
    """The rows that were measured on as many items as any; without racing these are all."""
    most = max((row["n_search"] for row in archive if "n_search" in row), default=0)
    return [row for row in archive if row.get("n_search", most) == most]


def to_report(archive: list[dict], picks: dict[str, dict], *costs: str) -> list[dict]:
    """The archive's rows to measure on the report split, in its order: the front, the picks and the full network.

    The full network is the reference of every comparison, so it is there even where the front dominates it. The
    archive says what is expected of each network; ``picks`` is ``select.picks`` of the config.

    Raises:
        LlamaNasError: the full network was not measured, or a rule of the picks lacks its number.
    """
    full = full_id(archive)
    chosen = pick(archive, find_front(archive, EXPECTED, costs[0]), full, picks, costs[0], EXPECTED).values()
    wanted = {full, *(row["architecture"] for row in [*find_front(archive, EXPECTED, *costs), *chosen])}
    return [row for row in archive if row["architecture"] in wanted]


def report_rows(
    rows: list[dict], answers: list[dict], full: str, confidence: float, resamples: int, seed: int
) -> list[dict]:
    """Rows of artifact ``front``: the given rows with report accuracy and its difference from the full network's.

    ``answers`` has the report split's answers of these architectures and of the ``full`` network. ``confidence`` is the
    level of all intervals: Wilson's for accuracies, the paired bootstrap's for differences, which is drawn for each
    architecture apart so that no row depends on the others.

    Raises:
        LlamaNasError: an architecture was not answered on the items of the full network, or was twice, or there are
            no answers of the full network.
    """
    credit = credits_of(answers)
    reference = credit.get(full, {})
    full_columns = {
        f"full_{name}": value for name, value in _accuracy(reference, confidence).items() if name != "n_report"
    }
    reported = []
    for row in rows:
        mine = credit.get(row["architecture"], {})
        if mine.keys() != reference.keys():
            raise LlamaNasError(
                f"architecture {row['architecture']} was answered on {len(mine)} items of the report split, which are "
                f"not the {len(reference)} of the full network. Delete the table of answers and run again."
            )
        draw = generator(seed, "bootstrap", row["architecture"])
        pair = [mine[item] for item in reference], [*reference.values()]
        difference, low, high = paired_difference(*pair, confidence, resamples, draw)
        comparison = {
            "difference": difference,
            "difference_ci_low": low,
            "difference_ci_high": high,
            "within_noise": low <= 0 <= high,
        }
        reported.append(row | _accuracy(mine, confidence) | full_columns | comparison)
    return reported


def selection_shift(front: list[dict], full: dict) -> dict[str, float] | None:
    """The winner's curse: how much better the front's smaller members look on the items that they were chosen on.

    ``search`` and ``report`` are their mean difference in accuracy from the full network on each split, ``shift`` the
    first minus the second, ``members`` their number; None without smaller members. Since both are differences from the
    full network, it does not matter whether the items of one split are easier.

    ``low`` and ``high`` are the shift's interval at its widest: as if all members erred together, and on the search
    split as much as on the report split but for the number of items.

    Args:
        front: rows of artifact ``front``.
        full: the full network's row of the archive.
    """
    smaller = [row for row in front if row["architecture"] != full["architecture"]]
    if not smaller:
        return None
    search = fmean(row["search_accuracy"] - full["search_accuracy"] for row in smaller)
    report = fmean(row["difference"] for row in smaller)
    half = fmean(row["difference_ci_high"] - row["difference_ci_low"] for row in smaller) / 2
    half *= (1 + smaller[0]["n_report"] / smaller[0]["n_search"]) ** 0.5
    shift = search - report
    means = {"search": search, "report": report, "shift": shift}
    return {"members": len(smaller)} | means | {"low": shift - half, "high": shift + half}


def credits_of(answers: list[dict]) -> dict[str, dict[str, float]]:
    """Of each architecture in rows of artifact ``answers`` the credit of each item.

    Raises:
        LlamaNasError: an item was answered twice.
    """
    credit: dict[str, dict[str, float]] = defaultdict(dict)
    for answer in answers:
        credit[answer["architecture"]][answer["item"]] = answer["credit"]
    if sum(map(len, credit.values())) < len(answers):
        raise LlamaNasError("the table of answers has an item of an architecture twice. Delete it and run again.")
    return dict(credit)


def _accuracy(credit: dict[str, float], confidence: float) -> dict:
    low, high = wilson_interval(sum(credit.values()), len(credit), confidence)
    return {
        "report_accuracy": sum(credit.values()) / len(credit),
        "report_ci_low": low,
        "report_ci_high": high,
        "n_report": len(credit),
    }
