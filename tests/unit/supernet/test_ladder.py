"""The importance ladder on a network whose sensitivities are known."""

import numpy as np
import pytest

from llamanas.errors import LlamaNasError
from llamanas.supernet.ladder import Ladder, ladder, sensitivities, spread
from synthetic_search import Problem


@pytest.fixture(params=range(3))
def problem(request) -> Problem:
    return Problem(6, request.param, kv_heads=[1])


def total(problem: Problem, architecture) -> float:
    table = sensitivities(problem.space, problem.importance)
    return sum(sum(table[layer][gene]) for layer, gene in enumerate(problem.space.encode(architecture)))


def test_rungs_lead_from_full_to_smallest_one_layer_at_a_time(problem):
    rungs, space = ladder(problem.space, problem.importance), problem.space
    assert rungs[0] == space.full
    assert space.parameters(rungs[-1]) == space.parameters(space.smallest)
    for above, below in zip(rungs, rungs[1:], strict=False):
        changes = [a != b for a, b in zip(space.encode(above), space.encode(below), strict=True)]
        assert sum(changes) == 1
        assert space.contains(below)
        assert space.parameters(below) < space.parameters(above)


def test_each_step_adds_the_least_sensitivity_per_parameter(problem):
    space, rungs = problem.space, ladder(problem.space, problem.importance)
    for above, below in zip(rungs, rungs[1:], strict=False):
        genes = space.encode(above)

        def price(architecture, above=above):
            added = total(problem, architecture) - total(problem, above)
            return added / (space.parameters(above) - space.parameters(architecture))

        neighbours = [
            space.decode(genes[:layer] + (choice,) + genes[layer + 1 :])
            for layer in range(len(genes))
            for choice in range(genes[layer])
        ]
        smaller = [n for n in neighbours if space.contains(n) and space.parameters(n) < space.parameters(above)]
        assert price(below) == pytest.approx(min(map(price, smaller)))


def test_rungs_are_less_sensitive_than_random_architectures_no_smaller(problem):
    rungs, random = ladder(problem.space, problem.importance), np.random.default_rng(0)
    wins = 0
    for _ in range(40):
        drawn = problem.space.random(random)
        size = problem.space.parameters(drawn)
        rung = next(rung for rung in rungs if problem.space.parameters(rung) <= size)
        wins += total(problem, rung) <= total(problem, drawn)
    assert wins > 30  # the next smaller rung may be much smaller, so not always


def test_an_undisturbed_rung_is_the_first_that_is_small_enough(problem):
    space, rungs = problem.space, ladder(problem.space, problem.importance)
    descent, draws = Ladder(space, problem.importance), np.random.default_rng(0)
    assert [space.encode(rung) for rung in rungs] == [genes for genes, _ in descent.descend()]
    for wanted in np.linspace(0, space.parameters(space.full), 9):
        fitting = [rung for rung in rungs if space.parameters(rung) <= wanted]
        assert descent.near(wanted, 0.0, draws) == (fitting[0] if fitting else rungs[-1])


def test_disturbed_rungs_are_admissible_small_enough_and_follow_the_generator(problem):
    space, descent = problem.space, Ladder(problem.space, problem.importance)
    wanted = (space.parameters(space.smallest) + space.parameters(space.full)) / 2
    drawn = [[descent.near(wanted, 1.0, draws) for _ in range(9)] for draws in map(np.random.default_rng, (0, 0, 1))]
    assert drawn[0] == drawn[1] != drawn[2] and len(set(drawn[0])) > 1
    assert all(space.contains(each) and space.parameters(each) <= wanted for each in drawn[0])


def test_missing_sensitivities_are_named(problem):
    rows = [row for row in problem.importance if (row["layer"], row["kind"], row["index"]) != (2, "mlp", 64)]
    with pytest.raises(LlamaNasError, match="layer 2, kind 'mlp', index 64"):
        ladder(problem.space, rows)


def test_channel_rows_and_row_order_do_not_matter(problem):
    channels = [{"layer": 1, "kind": "channel", "index": index, "score": 9.0} for index in range(256)]
    assert ladder(problem.space, problem.importance) == ladder(problem.space, channels + problem.importance[::-1])


def test_spread_is_even_in_parameters():
    problem = Problem(12, 0)
    rungs = ladder(problem.space, problem.importance)
    for count in (1, 3, 5):
        chosen = spread(rungs, count, problem.space)
        assert len(set(chosen)) == count
        assert chosen == [rung for rung in rungs if rung in chosen]
        low, high = problem.space.parameters(rungs[-1]), problem.space.parameters(rungs[0])
        for part, architecture in enumerate(chosen):
            share = (high - problem.space.parameters(architecture)) / (high - low)
            assert share == pytest.approx((part + 0.5) / count, abs=0.08)
    assert spread(rungs[:3], 9, problem.space) == rungs[:3]
    assert spread(rungs, 0, problem.space) == []
