"""Whether the search was worth it follows from fronts and the ladder's networks."""

from dataclasses import replace

import pytest

from llamanas.report.worth import ladder_rows, search_verdict

FRONT = [
    {"parameters": 500, "expected_score": 0.5, "report_accuracy": 0.5, "report_ci_low": 0.45, "report_ci_high": 0.55},
    {"parameters": 600, "expected_score": 0.7, "report_accuracy": 0.6, "report_ci_low": 0.55, "report_ci_high": 0.65},
    {"parameters": 605, "expected_score": 0.6, "report_accuracy": 0.9, "report_ci_low": 0.85, "report_ci_high": 0.95},
]
LADDER = {"task": "t", "method": "ours", "accuracy": 0.5, "ci_low": 0.46, "ci_high": 0.54}


def test_a_ladder_network_meets_the_best_expected_that_is_not_larger(results):
    rungs = [LADDER | {"parameters": size} for size in (499, 500, 520, 604, 605)]
    rows = ladder_rows(replace(results, fronts={"t": FRONT}, baselines=[*rungs, rungs[0] | {"method": "random"}]))
    assert [(row["parameters"], row["found"]["parameters"]) for row in rows] == [(500, 500), (604, 600), (605, 600)]
    assert [row["difference"] for row in rows] == pytest.approx([0, 0.1, 0.1])


@pytest.mark.parametrize(
    ("found", "counts", "apart", "shown"),
    [
        ((1, 1), "more accurate in 2 and less accurate in 0, +10.0 points", "lie apart in 2, 0 of them", True),
        ((0, 0), "more accurate in 0 and less accurate in 0, +0.0 points", "overlap in all", False),
        ((-1, 1), "more accurate in 1 and less accurate in 1, +0.0 points", "lie apart in 2, 1 of them", False),
    ],
)
def test_the_search_is_worth_it_where_intervals_lie_apart(found, counts, apart, shown):
    rows = []
    for sign in found:
        accuracy = 0.5 + sign * 0.1
        row = {"report_accuracy": accuracy, "report_ci_low": accuracy - 0.05, "report_ci_high": accuracy + 0.05}
        rows.append(LADDER | {"found": row, "difference": sign * 0.1})
    told = search_verdict(rows)
    assert counts in told and f"the intervals {apart}" in told and told.startswith("Of 2 comparisons")
    assert ("does not show" not in told) == shown
