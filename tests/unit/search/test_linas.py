"""NSGA-II over the predictor: what it is asked, how it starts and how it mutates."""

import numpy as np
import pytest

from llamanas.architecture import Architecture
from llamanas.search import linas as module
from llamanas.search.collect import collect
from llamanas.search.nsga2 import OtherChoice
from llamanas.search.propose import propose
from llamanas.select.front import find_front, objectives
from llamanas.supernet.limits import Limits
from synthetic_search import SETTINGS, Problem

PROBLEM = Problem(8, 0)


def linas(space, archive, importance, settings, seed):
    """What is proposed without limits."""
    return module.linas(space, archive, importance, settings, seed, Limits(space, PROBLEM.shape, {}, 4))


def first_archive(problem: Problem = PROBLEM) -> list[dict]:
    candidates = propose(problem.space, problem.shape, [], problem.importance, SETTINGS, 0, 0, 4)
    return collect([], candidates, problem.measure(candidates))


@pytest.fixture
def asked(monkeypatch) -> list[np.ndarray]:
    """The genes of every request to the predictor."""
    requests: list[np.ndarray] = []
    original = module._Predicted._evaluate

    def evaluate(self, x, out, *args, **kwargs):
        requests.append(x.copy())
        original(self, x, out, *args, **kwargs)

    monkeypatch.setattr(module._Predicted, "_evaluate", evaluate)
    return requests


def test_predictor_is_asked_as_often_as_configured(asked):
    for evaluations in (10, 120, 600):
        asked.clear()
        linas(PROBLEM.space, first_archive(), PROBLEM.importance, SETTINGS | {"predictor_evaluations": evaluations}, 0)
        assert evaluations <= sum(map(len, asked)) < evaluations + module.POPULATION


def test_evolution_starts_from_the_archive_and_keeps_the_minimum_depth(asked):
    archive = first_archive()
    linas(PROBLEM.space, archive, PROBLEM.importance, SETTINGS, 0)
    measured = {PROBLEM.space.encode(Architecture.from_row(row)) for row in archive}
    assert measured <= set(map(tuple, asked[0].tolist()))
    assert all(PROBLEM.space.contains(PROBLEM.space.decode(genes)) for genes in np.concatenate(asked))


def test_proposals_are_the_best_of_everything_new_that_was_asked_about(monkeypatch):
    problems = []
    original = module._evolve
    monkeypatch.setattr(module, "_evolve", lambda problem, *rest: (problems.append(problem), original(problem, *rest)))
    archive = first_archive()
    proposed = {PROBLEM.space.encode(a) for a in linas(PROBLEM.space, archive, PROBLEM.importance, SETTINGS, 0)}
    measured = {PROBLEM.space.encode(Architecture.from_row(row)) for row in archive}
    rows = [
        {"architecture": str(genes), "genes": genes, "score": -values[0], "cost": values[1]}
        for genes, values in problems[0].seen.items()
        if genes not in measured
    ]
    front = {row["genes"] for row in find_front(rows, "score", "cost")}
    assert len(proposed) == 8
    assert len(front) >= 8 and proposed <= front


def test_every_gene_mutates_at_the_given_rate_to_another_choice():
    highest = np.array([0, 1, 4, 6])
    problem = type("Bounds", (), {"xu": highest})()
    x = np.random.default_rng(0).integers(0, highest + 1, (4000, 4))
    mutated = OtherChoice(np.random.default_rng(1), 0.25)._do(problem, x)
    assert (mutated != x).mean(axis=0) == pytest.approx([0, 0.25, 0.25, 0.25], abs=0.03)
    assert (mutated >= 0).all() and (mutated <= highest).all()
    changed = mutated[:, 3] != x[:, 3]
    assert len(set(zip(x[changed, 3], mutated[changed, 3], strict=True))) == 7 * 6


def test_a_large_archive_is_learnt_from_in_part_and_nothing_of_it_is_proposed_again(asked, monkeypatch):
    random = np.random.default_rng(0)
    drawn = {a.id: a for a in (PROBLEM.space.random(random) for _ in range(60))}
    rows = [a.row(PROBLEM.shape, 4) | {"generation": 0, "origin": "random"} for a in drawn.values()]
    archive = collect([], rows, PROBLEM.measure(rows))
    whole = linas(PROBLEM.space, archive, PROBLEM.importance, SETTINGS, 3)
    monkeypatch.setattr(module, "ROWS", 30)
    thinned = module.thinned(archive, SETTINGS["score"], objectives(SETTINGS), 3)
    front = {row["architecture"] for row in find_front(archive, SETTINGS["score"], SETTINGS["objective"])}
    kept = [row["architecture"] for row in thinned]
    assert len(kept) == 30 == len({*kept}) and front <= {*kept}
    assert kept == [row["architecture"] for row in archive if row["architecture"] in {*kept}]
    proposed = linas(PROBLEM.space, archive, PROBLEM.importance, SETTINGS, 3)
    assert len(proposed) == len(whole) == 8 and not {a.id for a in proposed} & drawn.keys()
    assert proposed == linas(PROBLEM.space, archive, PROBLEM.importance, SETTINGS, 3)
