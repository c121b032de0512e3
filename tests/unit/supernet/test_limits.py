"""Limits of a search against enumeration of a small space."""

from itertools import product

import numpy as np
import pytest

from llamanas.errors import LlamaNasError
from llamanas.supernet.limits import Limits
from synthetic_search import Problem

PROBLEM = Problem(4, 0, kv_heads=[1])
SPACE, SHAPE = PROBLEM.space, PROBLEM.shape
FULL = SHAPE.full.row(SHAPE, 2)
GENES = [*product(*(range(len(choices)) for choices in SPACE.choices))]
EVERYTHING = [a for a in map(SPACE.decode, GENES) if SPACE.contains(a)]


def share(name: str, low: float, high: float) -> dict:
    return {name: [low * FULL[name], high * FULL[name]]}


@pytest.mark.parametrize(
    "limits",
    [
        {},
        share("parameters", 0.6, 0.8),
        share("bytes", 0.0, 0.7),
        share("macs_per_token", 0.7, 1.0),
        share("parameters", 0.5, 0.9) | share("macs_per_token", 0.0, 0.8) | share("bytes", 0.6, 1),
    ],
    ids=str,
)
def test_limits_hold_for_exactly_what_keeps_them(limits):
    tested = Limits(SPACE, SHAPE, limits, 2)
    expected = {
        a for a in EVERYTHING
        if all(low <= a.row(SHAPE, 2)[name] <= high for name, (low, high) in limits.items())
    }  # fmt: skip
    listed = list(tested.architectures())
    assert set(listed) == expected and len(listed) == len(expected) == tested.count()
    assert {a for a in EVERYTHING if tested.allow(a)} == expected
    if limits:
        keeps = (tested.violation(np.array(GENES)) <= 0).all(axis=1)
        assert {
            a for a, kept in zip(map(SPACE.decode, GENES), keeps, strict=True) if kept and SPACE.contains(a)
        } == expected


def test_limits_count_a_space_of_depths():
    problem = Problem(4, 0, depths=[2])
    full = problem.shape.full.row(problem.shape, 2)["parameters"]
    tested = Limits(problem.space, problem.shape, {"parameters": [0.5 * full, 0.9 * full]}, 2)
    listed = list(tested.architectures())
    assert 0 < len(set(listed)) == len(listed) == tested.count() < problem.space.size
    assert {architecture.depth for architecture in listed} == {2, 4}


def test_random_draws_are_spread_over_the_bounds():
    tested = Limits(SPACE, SHAPE, share("parameters", 0.6, 0.8), 2)
    draws = np.random.default_rng(0)
    shares = [tested.random(draws).parameters(SHAPE) / FULL["parameters"] for _ in range(200)]
    assert min(shares) >= 0.6 and np.mean([part <= 0.8 for part in shares]) > 0.5


@pytest.mark.parametrize(
    ("limits", "words"), [({"parameters": [0, 10]}, "no architecture"), ({"bytes": [9, 1]}, "at least, at most")]
)
def test_impossible_limits_are_an_error(limits, words):
    with pytest.raises(LlamaNasError, match=words):
        Limits(SPACE, SHAPE, limits, 2)
