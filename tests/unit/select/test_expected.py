"""Scores that all measurements let expect, against measured ones whose noise is known."""

import numpy as np
import pytest

from llamanas.select.expected import with_expected
from llamanas.select.front import EXPECTED, find_front
from llamanas.select.statistics import hypervolume
from llamanas.supernet.ladder import ladder
from synthetic_search import Problem


def noisy_archive(problem: Problem, count: int, noise: float, seed: int) -> list[dict]:
    """Random networks with their true score and a measured one."""
    draws = np.random.default_rng(seed)
    networks = {a.id: a for a in (problem.space.random(draws) for _ in range(count))}
    rows = [a.row(problem.shape, 4) | {"true": problem.score(a), "n_search": 9} for a in networks.values()]
    return [row | {"search_score": row["true"] + draws.normal(0, noise)} for row in rows]


def expected(problem: Problem, archive: list[dict], smooth: bool = True) -> list[dict]:
    return with_expected(archive, problem.space, problem.importance, "search_score", smooth)


def test_a_front_of_expected_scores_is_truly_better_than_one_of_lucky_scores():
    gains = []
    for seed in range(12):
        problem = Problem(12, seed)
        archive = expected(problem, noisy_archive(problem, 60, 0.5, seed))
        full = problem.space.parameters(problem.space.full)

        def true_volume(score: str, archive: list[dict] = archive, full: int = full) -> float:
            front = find_front(archive, score, "parameters")
            worst = min(row["true"] for row in archive)
            return hypervolume([row["parameters"] / full for row in front], [row["true"] for row in front], (1, worst))

        gains.append(true_volume(EXPECTED) - true_volume("search_score"))
    assert np.mean(gains) > 2 * np.std(gains) / len(gains) ** 0.5


def test_expected_scores_are_nearer_to_the_truth_and_of_the_same_unit():
    problem = Problem(12, 3)
    archive = expected(problem, noisy_archive(problem, 100, 0.5, 3))
    true, measured, smoothed = (np.array([row[name] for row in archive]) for name in ("true", "search_score", EXPECTED))
    assert np.abs(smoothed - true).mean() < 0.7 * np.abs(measured - true).mean()
    assert smoothed.mean() == pytest.approx(measured.mean())


def test_what_lies_off_the_ladder_is_expected_to_be_as_bad_as_it_was_measured():
    """Off the ladder costs more here than its parts add up to, which only the way to the nearest rung can tell."""
    problem, draws = Problem(12, 4), np.random.default_rng(4)
    rungs = ladder(problem.space, problem.importance)
    near = [problem.space.encode(rung) for rung in rungs]
    near = [[*genes[:at], 0, *genes[at + 1 :]] for genes in near for at in draws.choice(12, 3, replace=False)]
    off = {a.id: a for a in map(problem.space.decode, near) if problem.space.contains(a)}
    off = {name: a for name, a in off.items() if name not in {rung.id for rung in rungs}}
    archive = [a.row(problem.shape, 4) | {"true": problem.score(a), "n_search": 9} for a in (*rungs, *off.values())]
    lost = np.array([2.0 * (row["architecture"] in off) for row in archive])
    true = np.array([row["true"] for row in archive]) - lost
    noisy = true + draws.normal(0, 0.5, len(archive))
    rows = [row | {"search_score": value} for row, value in zip(archive, noisy.tolist(), strict=True)]
    error = np.array([row[EXPECTED] for row in expected(problem, rows)]) - true
    assert abs(error[lost > 0].mean() - error[lost == 0].mean()) < 1


def test_measured_scores_stand_where_nothing_is_to_be_smoothed():
    problem = Problem(6, 0)
    archive = noisy_archive(problem, 20, 0.5, 0)
    equal = [row | {"search_score": 0.5} for row in archive]
    for rows in (expected(problem, archive, smooth=False), expected(problem, equal), expected(problem, archive[:1])):
        assert [row[EXPECTED] for row in rows] == [row["search_score"] for row in rows]
    assert expected(problem, []) == []


def test_rows_that_racing_dropped_teach_nothing_and_keep_what_was_measured():
    problem = Problem(6, 1)
    archive = noisy_archive(problem, 30, 0.5, 1)
    dropped = [row | {"n_search": 3, "search_score": 99.0} for row in archive[20:]]
    rows = expected(problem, [*archive[:20], *dropped])
    assert rows[:20] == expected(problem, archive[:20])
    assert [row[EXPECTED] for row in rows[20:]] == [99.0] * 10


def test_without_importance_what_is_missing_counts():
    problem = Problem(12, 5)
    archive = noisy_archive(problem, 100, 0.5, 5)
    rows = with_expected(archive, problem.space, None, "search_score", True)
    true, measured, smoothed = (np.array([row[name] for row in rows]) for name in ("true", "search_score", EXPECTED))
    assert np.abs(smoothed - true).mean() < np.abs(measured - true).mean()


def test_without_importance_scores_that_parts_do_not_explain_count():
    """Noise is small here, and what two layers lack together costs more than their parts add up to."""
    problem = Problem(12, 6)
    archive = noisy_archive(problem, 150, 0.01, 6)
    lacking = [[heads == 0 for heads in row["kv_heads"]] for row in archive]
    worse = [6.0 * sum(a and b for a, b in zip(each[::2], each[1::2], strict=True)) for each in lacking]
    archive = [row | {"search_score": row["search_score"] - cost} for row, cost in zip(archive, worse, strict=True)]
    rows = with_expected(archive, problem.space, None, "search_score", True)
    measured, smoothed = (np.array([row[name] for row in rows]) for name in ("search_score", EXPECTED))
    assert np.abs(smoothed - measured).mean() < 0.1 * measured.std()


def test_of_many_rows_a_gaussian_process_learns_from_some(monkeypatch):
    problem = Problem(12, 7)
    archive = noisy_archive(problem, 120, 0.5, 7)
    every = with_expected(archive, problem.space, None, "search_score", True)
    monkeypatch.setattr("llamanas.search.linas.ROWS", 40)
    rows = with_expected(archive, problem.space, None, "search_score", True)
    true, smoothed, by_all = (
        np.array([row[name] for row in table]) for table, name in ((rows, "true"), (rows, EXPECTED), (every, EXPECTED))
    )
    assert len(rows) == 120 and not np.allclose(smoothed, by_all)
    assert np.abs(smoothed - true).mean() < 0.5 * true.std()
