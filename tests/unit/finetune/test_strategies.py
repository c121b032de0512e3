"""Strategies: which networks a step trains, and what it draws them from."""

import numpy as np
import pytest

from llamanas.finetune.strategies import Pass, Sampler, super_network
from llamanas.supernet.ladder import Ladder
from synthetic_search import Problem

SETTINGS = {"strategy": "stratified", "teacher": "finetuned", "answer_weight": 0.25, "subnets": 3, "spread": 0.2,
            "smallest_share": 0.0}  # fmt: skip


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem(8, 0)


def passes(problem: Problem, step: int = 0, **changes) -> list[Pass]:
    settings = SETTINGS | changes
    ladder = Ladder(problem.space, problem.importance)
    sampler = Sampler(problem.space, problem.shape, settings, ladder)
    return super_network(settings, sampler, 5)(step)


def test_alternate_takes_turns_on_the_answers_alone(problem):
    kinds = [passes(problem, step, strategy="alternate") for step in range(6)]
    assert [len(each) for each in kinds] == [1] * 6
    assert [each[0].architecture == problem.space.full for each in kinds] == [True, False] * 3
    assert {(p.answer_weight, p.teacher_weight) for each in kinds for p in each} == {(1.0, 0.0)}


@pytest.mark.parametrize(("strategy", "count"), [("instatune", 2), ("sandwich", 5), ("stratified", 4)])
def test_the_others_begin_with_the_full_network(problem, strategy, count):
    full, *others = passes(problem, strategy=strategy)
    assert full == Pass(problem.space.full, 0.25, 0.75) and 1 + len(others) == count
    assert {(p.answer_weight, p.teacher_weight) for p in others} == {(0.25, 0.75)}
    leader = passes(problem, strategy=strategy, teacher="in_place")[0]
    assert leader == Pass(problem.space.full, 1.0, 0.0)


def test_sandwich_trains_the_smallest_of_the_range(problem):
    shape, space = problem.shape, problem.space
    share = 0.7
    smallest = passes(problem, strategy="sandwich", smallest_share=share, spread=0.0)[1].architecture
    rungs = [space.decode(genes) for genes, _ in Ladder(space, problem.importance).descend()]
    expected = next(r for r in rungs if r.parameters(shape) <= share * shape.full.parameters(shape))
    assert smallest == expected


def test_stratified_takes_one_from_each_part_of_the_sizes(problem):
    space = problem.space
    for step in range(10):
        sizes = [space.parameters(p.architecture) for p in passes(problem, step)]
        assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 4


def test_draws_depend_on_seed_and_step_alone(problem):
    assert passes(problem, 3) == passes(problem, 3) != passes(problem, 4)


@pytest.mark.parametrize("near", [True, False])
def test_sizes_are_uniform_between_the_full_network_and_the_share(problem, near):
    space, shape = problem.space, problem.shape
    ladder = Ladder(space, problem.importance) if near else None
    sampler = Sampler(space, shape, SETTINGS | {"smallest_share": 0.8}, ladder)
    draws = np.random.default_rng(1)
    drawn = [sampler.draw(draws) for _ in range(400)]
    assert all(map(space.contains, drawn))
    shares = np.array([a.parameters(shape) for a in drawn]) / shape.full.parameters(shape)
    step = max(c.parameters for choices in space.choices for c in choices) / shape.full.parameters(shape)
    assert 0.8 - step <= shares.min() and abs(shares.mean() - 0.9) < 0.02 + step / 2


def test_no_spread_gives_the_ladders_own_rungs(problem):
    ladder = Ladder(problem.space, problem.importance)
    rungs = {problem.space.decode(genes) for genes, _ in ladder.descend()}
    draws = np.random.default_rng(0)
    sizes = np.linspace(problem.space.parameters(problem.space.full), 0, 20)
    assert {ladder.near(size, 0.0, draws) for size in sizes} <= rungs
    assert not {ladder.near(size, 2.0, draws) for size in sizes} <= rungs
