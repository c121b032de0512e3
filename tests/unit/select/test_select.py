"""Front, picks and their report against brute force and hand-made archives."""

import numpy as np
import pytest

from llamanas.artifacts import table_of
from llamanas.errors import LlamaNasError
from llamanas.search.collect import collect
from llamanas.search.propose import propose
from llamanas.select.expected import with_expected
from llamanas.select.front import find_front, report_rows, selection_shift, to_report
from llamanas.select.picks import full_id, pick
from llamanas.select.select import select
from synthetic_search import SETTINGS, Problem

PICKS = {
    "full": {"rule": "full"},
    "knee": {"rule": "knee"},
    "smallest_within_1pt": {"rule": "smallest_within", "points": 1},
    "half_way": {"rule": "cost_share", "share": 0.75},
}
SELECT = {"picks": PICKS, "confidence": 0.95, "bootstrap": 500}


def archive_of(*points: tuple[float, ...]) -> list[dict]:
    """Rows a, b, ... of (cost, score, accuracy), of which the first is the full network."""
    return [
        {"architecture": name, "origin": "random" if index else "full", "parameters": cost, "search_score": score,
         "expected_score": score, "search_accuracy": accuracy}
        for index, (name, (cost, score, accuracy)) in enumerate(zip("abcdefgh", points, strict=False))
    ]  # fmt: skip


def names(rows: list[dict]) -> str:
    return "".join(row["architecture"] for row in rows)


def picked(archive: list[dict], **rules: dict) -> dict[str, str]:
    front = find_front(archive, "search_score", "parameters")
    chosen = pick(archive, front, full_id(archive), rules or PICKS, "parameters", "search_score")
    return {name: row["architecture"] for name, row in chosen.items()}


@pytest.mark.parametrize("seed", range(20))
def test_front_is_what_nothing_dominates(seed):
    random = np.random.default_rng(seed)
    rows = [
        {"architecture": str(i), "cost": int(cost), "score": int(score)}
        for i, (cost, score) in enumerate(random.integers(0, 9, (30, 2)))
    ]

    def dominated(row: dict) -> bool:
        return any(
            other["cost"] <= row["cost"] and other["score"] >= row["score"]
            and (other["cost"], other["score"]) != (row["cost"], row["score"])
            for other in rows
        )  # fmt: skip

    front = find_front(rows, "score", "cost")
    assert sorted(row["architecture"] for row in front) == sorted(r["architecture"] for r in rows if not dominated(r))
    assert [row["cost"] for row in front] == sorted(row["cost"] for row in front)
    assert front == find_front(rows[::-1], "score", "cost")
    assert find_front([], "score", "cost") == []


def test_a_front_has_every_objective():
    draws = np.random.default_rng(2)
    rows = [
        {"architecture": f"{n:02}", "score": int(s), "cost": int(c), "other": int(o)}
        for n, (s, c, o) in enumerate(draws.integers(6, size=(40, 3)))
    ]
    values = {row["architecture"]: (-row["score"], row["cost"], row["other"]) for row in rows}
    best = [
        name
        for name, own in values.items()
        if not any(other != own and all(a <= b for a, b in zip(other, own, strict=True)) for other in values.values())
    ]
    front = find_front(rows, "score", "cost", "other")
    assert sorted(row["architecture"] for row in front) == best
    assert front == find_front(rows[::-1], "score", "cost", "other")


def test_picks_follow_their_rules():
    archive = archive_of((100, -0.50, 0.70), (90, -0.51, 0.695), (70, -0.55, 0.68), (50, -0.90, 0.60), (60, -1.0, 0.7))
    assert names(find_front(archive, "search_score", "parameters")) == "dcba"
    assert picked(archive) == {"full": "a", "knee": "c", "smallest_within_1pt": "b", "half_way": "c"}
    assert picked(archive, loose={"rule": "smallest_within", "points": 10})["loose"] == "d"
    assert picked(archive, tiny={"rule": "cost_share", "share": 0.5})["tiny"] == "d"


def test_full_network_is_within_any_number_of_points_of_itself():
    dominated = archive_of((100, -0.9, 0.7), (90, -0.5, 0.5), (50, -0.8, 0.4))
    assert picked(dominated)["smallest_within_1pt"] == "a"
    assert picked(dominated)["full"] == "a"
    assert names(to_report(dominated, PICKS, "parameters")) == "abc"
    exactly = archive_of((100, -0.5, 0.3), (90, -0.6, 0.29))
    assert picked(exactly)["smallest_within_1pt"] == "b"


def test_cost_share_falls_back_to_the_cheapest_and_says_so(capsys):
    assert picked(archive_of((100, -0.5, 0.7), (80, -0.6, 0.6)))["half_way"] == "b"
    assert "half_way" in capsys.readouterr().out


def test_knee_of_short_and_sagging_fronts_is_the_best_score():
    assert picked(archive_of((100, -0.5, 0.7)))["knee"] == "a"
    assert picked(archive_of((100, -0.5, 0.7), (80, -0.6, 0.6)))["knee"] == "a"
    assert picked(archive_of((100, -0.5, 0.7), (80, -0.9, 0.6), (50, -1.0, 0.5)))["knee"] == "a"


def test_bad_rules_and_archives_are_refused():
    archive = archive_of((100, -0.5, 0.7), (80, -0.6, 0.6))
    for rule, key in (("smallest_within", "points"), ("cost_share", "share")):
        with pytest.raises(LlamaNasError, match=f"select.picks.mine.*{key}"):
            picked(archive, mine={"rule": rule})
    with pytest.raises(LlamaNasError, match="unknown rule 'best'"):
        picked(archive, mine={"rule": "best"})
    with pytest.raises(LlamaNasError, match="lacks the full network"):
        picked(archive[1:])
    with pytest.raises(LlamaNasError, match="z is not in the archive"):
        pick(archive, archive, "z", PICKS, "parameters", "search_score")


def answers_of(correct: dict[str, list[int]]) -> list[dict]:
    return [
        {
            "architecture": name,
            "item": f"item {index}",
            "chosen": 0,
            "gold": [0],
            "credit": float(value),
            "score": 0.0,
            "weight": 1.0,
            "loglikelihoods": [0.0],
        }
        for name, values in correct.items()
        for index, value in enumerate(values)
    ]


def test_reported_differences_and_noise():
    archive = archive_of((100, -0.5, 0.7), (80, -0.6, 0.6), (50, -0.7, 0.5))
    full, near, far = [1] * 60 + [0] * 40, [1] * 59 + [0] * 40 + [1], [1] * 20 + [0] * 80
    answers = answers_of({"a": full, "b": near, "c": far})
    rows = {row["architecture"]: row for row in report_rows(archive, answers, "a", 0.95, 500, 0)}
    assert [rows[name]["report_accuracy"] for name in "abc"] == [0.6, 0.6, 0.2]
    assert [rows[name]["difference"] for name in "abc"] == pytest.approx([0, 0, -0.4])
    assert [rows[name]["within_noise"] for name in "abc"] == [True, True, False]
    assert rows["c"]["difference_ci_low"] < -0.4 < rows["c"]["difference_ci_high"] < -0.2
    assert {(row["n_report"], row["full_report_accuracy"]) for row in rows.values()} == {(100, 0.6)}
    assert rows["c"]["full_report_ci_low"] == rows["a"]["report_ci_low"] < 0.6 < rows["c"]["full_report_ci_high"]
    assert report_rows(archive[2:], answers[::-1], "a", 0.95, 500, 0)[0]["difference"] == rows["c"]["difference"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (answers_of({"a": [1, 0]}), "b was answered on 0 items"),
        (answers_of({"a": [1, 0], "b": [1]}), "b was answered on 1 items"),
        (answers_of({"b": [1, 0]}), "at least one answered item"),
        (answers_of({"a": [1, 0], "b": [1, 0]}) + answers_of({"b": [1]}), "twice"),
    ],
)
def test_incomplete_answers_are_refused(rows, message):
    with pytest.raises(LlamaNasError, match=message):
        report_rows(archive_of((100, -0.5, 0.7), (80, -0.6, 0.6)), rows, "a", 0.95, 100, 0)


def test_a_whole_selection_fits_its_artifacts_and_ignores_the_report_split():
    problem = Problem(6, 0)
    candidates = propose(problem.space, problem.shape, [], problem.importance, SETTINGS, 0, 0, 4)
    archive = collect([], candidates, problem.measure(candidates))
    archive = with_expected(archive, problem.space, problem.importance, "search_score", True)
    measured = [row["architecture"] for row in to_report(archive, PICKS, "parameters")]
    random = np.random.default_rng(0)
    chosen = []
    for share in (0.2, 0.8):
        answers = answers_of({name: random.random(50) < share for name in measured})
        front, picks = select(archive, answers, problem.space.full.id, SETTINGS, SELECT, 0)
        assert table_of("front", front).num_rows == len(front) > 2
        assert [row["pick"] for row in table_of("picks", picks).to_pylist()] == list(PICKS)
        assert (front, picks) == select(archive, answers[::-1], problem.space.full.id, SETTINGS, SELECT, 0)
        chosen.append(([row["architecture"] for row in front], [row["architecture"] for row in picks]))
    assert chosen[0] == chosen[1]


def around(difference: float, half: float) -> dict[str, float]:
    names = "difference", "difference_ci_low", "difference_ci_high"
    return dict(zip(names, (difference, difference - half, difference + half), strict=True))


def test_the_shift_compares_differences_from_the_full_network_on_both_splits():
    full = {"architecture": "f", "search_accuracy": 0.6, "n_search": 100, "n_report": 300}
    front = [
        full | {"architecture": "a", "search_accuracy": 0.65} | around(-0.05, 0.02),
        full | {"architecture": "b", "search_accuracy": 0.61} | around(0.01, 0.04),
        full | around(0.0, 0.0),
    ]
    shift = selection_shift(front, full)
    assert shift["members"] == 2
    assert (shift["search"], shift["report"], shift["shift"]) == pytest.approx((0.03, -0.02, 0.05))
    # Half of the members' mean interval, and on a third of the items the root of three times as much.
    assert (shift["low"], shift["high"]) == pytest.approx((0.05 - 0.03 * 2, 0.05 + 0.03 * 2))
    assert selection_shift(front[2:], full) is None


def test_what_racing_dropped_is_on_no_front():
    rows = [row | {"n_search": 100} for row in archive_of((10, 5, 0.5), (8, 4, 0.4), (6, 9, 0.9))]
    rows[2]["n_search"] = 25  # the best, but by a quarter of the items
    assert names(find_front(rows, "search_score", "parameters")) == "ba"
