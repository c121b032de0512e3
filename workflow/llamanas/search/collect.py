"""Join the scores of a generation to its candidates and append them to the archive."""

import math
from collections import Counter

from llamanas.errors import LlamaNasError

_SCORES = ("search_score", "search_accuracy", "n_search")


def collect(archive: list[dict], candidates: list[dict], scores: list[dict]) -> list[dict]:
    """The cumulative archive: the previous rows, then the candidates in their order, each with its scores.

    Tables may be empty; the order of the scores does not matter.

    Raises:
        LlamaNasError: a candidate has no score, two scores, one that is no number, or was measured before; or a score
            belongs to no candidate.
    """
    expected = [row["architecture"] for row in candidates]
    measured = Counter(row["architecture"] for row in scores)
    _refuse("have no score", [name for name in expected if name not in measured])
    _refuse("have more than one score", [name for name, times in measured.items() if times > 1])
    _refuse("have a score but are no candidates", [name for name in measured if name not in set(expected)])
    _refuse("were proposed twice", [name for name, times in Counter(expected).items() if times > 1])
    _refuse("were already in the archive", [row["architecture"] for row in archive if row["architecture"] in measured])
    _refuse("have a score that is no finite number", [row["architecture"] for row in scores if not _finite(row)])
    by_architecture = {row["architecture"]: {name: row[name] for name in _SCORES} for row in scores}
    return [*archive, *(row | by_architecture[row["architecture"]] for row in candidates)]


def _finite(row: dict) -> bool:
    return all(math.isfinite(row[name]) for name in _SCORES)


def _refuse(what: str, names: list[str]) -> None:
    if names:
        raise LlamaNasError(
            f"{len(names)} architectures {what}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}. Expected "
            "one score for each new candidate; delete the generation's score tables and run the workflow again."
        )
