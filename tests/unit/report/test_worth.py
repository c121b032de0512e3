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
    front = [row | {"architecture": str(row["parameters"])} for row in FRONT]
    rungs = [LADDER | {"parameters": size} for size in (499, 500, 520, 604, 605)]
    baselines = [*rungs, rungs[0] | {"method": "random"}]
    rows = ladder_rows(replace(results, fronts={"t": front}, baselines=baselines, rungs=frozenset({"500", "600"})))
    assert [(row["parameters"], row["found"] and row["found"]["parameters"]) for row in rows] == [
        (499, None), (500, 500), (520, 500), (604, 600), (605, 600),
    ]  # fmt: skip
    assert [row["difference"] for row in rows] == [None, 0, None, pytest.approx(0.1), pytest.approx(0.1)]
    assert [row["same"] for row in rows] == [False, True, False, False, False], "a rung of another size is another one"


@pytest.mark.parametrize(
    ("found", "counts", "apart", "shown"),
    [
        ((1, 1), "more accurate in 2 and less accurate in 0, +10.0 points", "lie apart in 2, 0 of them", True),
        ((0, 0), "more accurate in 0 and less accurate in 0, +0.0 points", "overlap. ", False),
        ((-1, 1), "more accurate in 1 and less accurate in 1, +0.0 points", "lie apart in 2, 1 of them", False),
    ],
)
def test_the_search_is_worth_it_where_intervals_lie_apart(found, counts, apart, shown):
    rows = [LADDER | {"found": None, "difference": None, "same": False}]
    rows.append(LADDER | {"found": FRONT[0], "difference": 0.0, "same": True})
    for sign in found:
        accuracy = 0.5 + sign * 0.1
        row = {"report_accuracy": accuracy, "report_ci_low": accuracy - 0.05, "report_ci_high": accuracy + 0.05}
        rows.append(LADDER | {"found": row, "difference": sign * 0.1, "same": False})
    told = search_verdict(rows)
    assert told.startswith(
        "Over all tasks 4 networks of the ladder were measured. In 3 cases the front has one of like"
    )
    assert "which in 1 is the ladder's own. In the other 2 the front's" in told
    assert counts in told and f"the intervals {apart}" in told
    assert ("does not show" not in told) == shown


def test_a_front_of_the_ladders_networks_alone_shows_nothing():
    same = LADDER | {"found": FRONT[0], "difference": 0.0, "same": True}
    told = search_verdict([same, same])
    assert "which in 2 is the ladder's own. This run does not show" in told
