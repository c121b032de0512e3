"""Racing: a candidate that is dominated with confidence after some of the items is not measured on the others.

Each pair of networks is compared on the same items, by a paired t-test of the item scores, as in F-Race (Birattari et
al. 2002) but against what costs no more, since a front and no single winner is sought.
"""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from llamanas.architecture import Architecture
from llamanas.randomness import shuffled_by_hash
from llamanas.search.judge import Judge, mean_of_answers
from llamanas.select.front import find_front, objectives


def split_items(questions: list[dict], share: float) -> tuple[list[dict], list[dict]]:
    """The items of the heat, which every candidate answers, and the others; both in the given order.

    They are drawn by hash; the heat has this share of all, at least two.
    """
    order = shuffled_by_hash([row["item"] for row in questions], "heat")
    chosen = set(order[: max(round(share * len(questions)), 2)])
    heat, rest = ([row for row in questions if (row["item"] in chosen) is wanted] for wanted in (True, False))
    return heat, rest


def race(candidates: list[dict], archive: list[dict], heats: list[dict], search: dict) -> tuple[list[dict], list[dict]]:
    """Rows of artifact ``survivors``, and the heats of all candidates so far, in the order of their candidates.

    Args:
        candidates: of this generation.
        archive: of all earlier generations, whose front are rivals.
        heats: rows of artifact ``heats`` of the candidates and the archive, in any order.
        search: section ``search`` of the config.
    """
    by_architecture: dict[str, list[dict]] = defaultdict(list)
    for row in heats:
        by_architecture[row["architecture"]].append(row)
    scores = {name: np.array([row["score"] * row["weight"] for row in rows]) for name, rows in by_architecture.items()}
    costs = objectives(search)
    rivals = find_front(archive, search["score"], *costs)
    kept = survivors(candidates, rivals, scores, costs, search["racing_confidence"])
    if candidates:
        print(f"{len(kept)} of {len(candidates)} candidates are measured on all items")
    return kept, [row for each in [*archive, *candidates] for row in by_architecture[each["architecture"]]]


def joined(
    judge: Judge, measured: list[tuple[Architecture, NDArray]], heats: list[dict]
) -> tuple[list[dict], list[dict]]:
    """Rows of artifacts ``answers`` and ``scores``: what each network answered in its heat, if any, and after it.

    Args:
        judge: of the items after the heat.
        measured: each network with its array on these items.
        heats: rows of artifact ``heats``; none without racing.
    """
    by_architecture = {architecture.id: judge.answers(architecture, values) for architecture, values in measured}
    for row in heats:
        if row["architecture"] in by_architecture:
            by_architecture[row["architecture"]].append(row)
    scores = [mean_of_answers(name, rows) for name, rows in by_architecture.items()]
    return [row for rows in by_architecture.values() for row in rows], scores


def dropped_rows(candidates: list[dict], archive: list[dict], scores: list[dict], heats: list[dict]) -> list[dict]:
    """Rows of artifact ``scores`` of the candidates that were dropped, estimated from the heat.

    The estimate is the full network's value on all items plus the mean difference from it in the heat, which is
    unbiased whether or not the heat's items are easy. ``n_search`` is that of the heat.

    Args:
        candidates: of this generation.
        archive: of all earlier generations.
        scores: of the candidates that were measured on all items.
        heats: rows of artifact ``heats`` of the candidates and the full network.
    """
    measured = {row["architecture"] for row in scores}
    left: dict[str, list[dict]] = {row["architecture"]: [] for row in candidates if row["architecture"] not in measured}
    if not left:
        return []
    full = next(row["architecture"] for row in [*archive, *candidates] if row["origin"] == "full")
    left[full] = []
    for row in heats:
        if row["architecture"] in left:
            left[row["architecture"]].append(row)
    whole = next(row for row in [*archive, *scores] if row["architecture"] == full)
    partial = {name: mean_of_answers(name, rows) for name, rows in left.items()}
    return [
        row | {name: whole[name] + row[name] - partial[full][name] for name in ("search_score", "search_accuracy")}
        for name, row in partial.items()
        if name != full
    ]


def survivors(
    candidates: list[dict], rivals: list[dict], heats: dict[str, NDArray], costs: list[str], confidence: float
) -> list[dict]:
    """The candidates that no rival dominates with confidence, in their order; the full network always stays.

    A rival dominates a candidate if it costs no more and its mean item score is higher. Since a candidate is tested
    against all of its rivals, the level of each test is divided by their number (Bonferroni), so that one that none
    dominates is dropped with at most probability ``1 - confidence``.

    Args:
        candidates: rows with the columns ``architecture``, ``origin`` and ``costs``.
        rivals: further rows, such as the front of all earlier generations.
        heats: of each of these architectures the scores [items] of the same items.
        costs: columns to minimize.
        confidence: of dropping rightly, between 0 and 1.
    """
    rows = [*candidates, *rivals]
    values = np.array([[row[cost] for cost in costs] for row in rows])
    scores = np.array([heats[row["architecture"]] for row in rows])
    kept = []
    for row in candidates:
        others = np.array([row["architecture"] != other["architecture"] for other in rows])
        cheaper = scores[(values <= [row[cost] for cost in costs]).all(axis=1) & others]
        if row["origin"] == "full" or not _dominated(heats[row["architecture"]], cheaper, confidence):
            kept.append(row)
    return kept


def _dominated(own: NDArray, rivals: NDArray, confidence: float) -> bool:
    """Whether one of the rivals' rows [rivals, items] is higher on average than can be chance."""
    if not len(rivals):
        return False
    differences = rivals - own
    n = len(own)
    means, errors = differences.mean(axis=1), differences.std(axis=1, ddof=1) / np.sqrt(n)
    return bool((means > t.ppf(1 - (1 - confidence) / len(rivals), n - 1) * errors).any())
