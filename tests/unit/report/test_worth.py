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
    rows = ladder_rows(replace(results, fronts={"t": front}, baselines=baselines, rungs=frozenset({"500"})))
    assert [(row["parameters"], row["found"] and row["found"]["parameters"]) for row in rows] == [
        (499, None), (500, 500), (520, 500), (604, 600), (605, 600),
    ]  # fmt: skip
    assert [row["difference"] for row in rows] == [None, 0, None, pytest.approx(0.1), pytest.approx(0.1)]
    assert [row["own"] for row in rows] == [False, True, False, False, False]


def test_the_ladders_own_network_is_no_success_of_the_search(results):
    front = [FRONT[1] | {"architecture": "a", "report_accuracy": 0.9, "report_ci_low": 0.85}]
    ladder = [LADDER | {"parameters": 604}]
    for rungs, shown in ((frozenset({"a"}), False), (frozenset(), True)):
        rows = ladder_rows(replace(results, fronts={"t": front}, baselines=ladder, rungs=rungs))
        assert ("does not show" not in search_verdict(rows, [])) == shown


@pytest.mark.parametrize(
    ("found", "counts", "apart", "shown"),
    [
        ((1, 1), "more accurate than the ladder's: 2, less accurate: 0, +10.0 points", "2 for the search, 0", True),
        ((0, 0), "more accurate than the ladder's: 0, less accurate: 0, +0.0 points", "0 for the search, 0", False),
        ((-1, 1), "more accurate than the ladder's: 1, less accurate: 1, +0.0 points", "1 for the search, 1", False),
    ],
)
def test_the_search_is_worth_it_where_intervals_lie_apart(found, counts, apart, shown):
    rows = [LADDER | {"found": None, "difference": None, "own": False}]
    rows.append(LADDER | {"found": FRONT[0], "difference": 0.0, "own": True})
    for sign in found:
        accuracy = 0.5 + sign * 0.1
        row = {"report_accuracy": accuracy, "report_ci_low": accuracy - 0.05, "report_ci_high": accuracy + 0.05}
        rows.append(LADDER | {"found": row, "difference": sign * 0.1, "own": False})
    told = search_verdict(rows, [{"rung": True}, {"rung": False}])
    assert "compared with: 4; of like size on the fronts: 3, the ladder's own among these: 1." in told
    assert counts in told and f"with intervals apart: {apart} against it." in told
    assert "Picks smaller than the full network: 2, of the ladder: 1." in told
    assert ("does not show" not in told) == shown


def test_nothing_to_compare_shows_nothing():
    told = search_verdict([LADDER | {"found": None, "difference": None, "own": False}], [])
    assert "of like size on the fronts: 0" in told and "Of the rest" not in told and "Picks" not in told
    assert told.endswith("This run does not show that the search found better networks than the ladder.")
