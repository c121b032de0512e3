"""Joining scores to candidates."""

import pytest

from llamanas.artifacts import table_of
from llamanas.errors import LlamaNasError
from llamanas.search.collect import collect
from llamanas.search.propose import propose
from synthetic_search import SETTINGS, Problem

PROBLEM = Problem(4, 0)
CANDIDATES = propose(PROBLEM.space, PROBLEM.shape, [], PROBLEM.importance, SETTINGS, 0, 0, 4)
SCORES = PROBLEM.measure(CANDIDATES)


def test_archive_keeps_its_order_whatever_the_order_of_scores():
    first = collect([], CANDIDATES[:5], SCORES[:5][::-1])
    both = collect(first, CANDIDATES[5:], SCORES[5:])
    assert both == collect([], CANDIDATES, SCORES)
    assert both == [row | score for row, score in zip(CANDIDATES, SCORES, strict=True)]
    assert table_of("archive", both).num_rows == 8


def test_empty_tables():
    archive = collect([], CANDIDATES, SCORES)
    assert collect(archive, [], []) == archive
    assert collect([], [], []) == []


@pytest.mark.parametrize(
    ("archive", "candidates", "scores", "message"),
    [
        ([], CANDIDATES, SCORES[1:], "1 architectures have no score"),
        ([], CANDIDATES, [*SCORES, SCORES[0]], "1 architectures have more than one score"),
        ([], CANDIDATES[1:], SCORES, "1 architectures have a score but are no candidates"),
        ([], [*CANDIDATES, CANDIDATES[0]], SCORES, "1 architectures were proposed twice"),
        (CANDIDATES[:2], CANDIDATES, SCORES, "2 architectures were already in the archive"),
        ([], CANDIDATES, [SCORES[0] | {"search_score": float("nan")}, *SCORES[1:]], "no finite number"),
    ],
)
def test_bad_scores_are_refused(archive, candidates, scores, message):
    with pytest.raises(LlamaNasError, match=message):
        collect(archive, candidates, scores)
