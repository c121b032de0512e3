"""Statistics against SciPy, brute force and simulation."""

import numpy as np
import pytest
from scipy.stats import binomtest

from llamanas.errors import LlamaNasError
from llamanas.select.statistics import hypervolume, paired_difference, wilson_interval


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (0, 40), (40, 40), (7, 19), (610, 1000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wilson_interval_equals_scipy(successes, n, confidence):
    expected = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert wilson_interval(successes, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_no_items_are_refused():
    with pytest.raises(LlamaNasError, match="at least one answered item"):
        wilson_interval(0, 0, 0.95)
    with pytest.raises(LlamaNasError, match="same items"):
        paired_difference([], [], 0.95, 100, np.random.default_rng(0))
    with pytest.raises(LlamaNasError, match="there are 1 and 2"):
        paired_difference([True], [True, False], 0.95, 100, np.random.default_rng(0))


def test_paired_difference_equals_resampling_of_items():
    random = np.random.default_rng(0)
    correct, reference = random.random((2, 300)) < [[0.55], [0.62]]
    difference, low, high = paired_difference(correct, reference, 0.9, 20_000, random)
    items = random.integers(300, size=(20_000, 300))
    means = correct[items].mean(axis=1) - reference[items].mean(axis=1)
    assert difference == pytest.approx(correct.mean() - reference.mean())
    assert (low, high) == pytest.approx(tuple(np.quantile(means, [0.05, 0.95])), abs=0.005)


def test_pairing_narrows_the_interval():
    random = np.random.default_rng(1)
    reference = random.random(400) < 0.6
    flipped = reference ^ (random.random(400) < 0.05)
    shuffled = random.permutation(flipped)
    _, low, high = paired_difference(flipped, reference, 0.95, 2000, np.random.default_rng(2))
    _, wide_low, wide_high = paired_difference(shuffled, reference, 0.95, 2000, np.random.default_rng(2))
    assert high - low < 0.5 * (wide_high - wide_low)


def test_bootstrap_follows_its_generator():
    correct, reference = np.random.default_rng(0).random((2, 100)) < 0.5
    draw = [paired_difference(correct, reference, 0.95, 500, np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert draw[0] == draw[1] != draw[2]
    assert paired_difference(correct, correct, 0.95, 500, np.random.default_rng(0)) == (0, 0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_hypervolume_equals_counted_area(seed):
    random = np.random.default_rng(seed)
    costs, scores = random.integers(0, 20, 12) / 20, random.integers(-20, 3, 12) / 20
    cells = np.arange(20) / 20  # each cell by its lower corner; scores count from -1
    dominated = [
        any(cost <= x + 1e-9 and score >= y + 1 / 20 - 1e-9 for cost, score in zip(costs, scores, strict=True))
        for x in cells
        for y in np.arange(-20, 3) / 20
    ]
    assert hypervolume(costs, scores, (1.0, -1.0)) == pytest.approx(np.mean(dominated) * 23 / 20)


def test_hypervolume_of_nothing_is_zero():
    assert hypervolume([], [], (1.0, 0.0)) == 0
    assert hypervolume([1.2, 0.5], [3.0, -1.0], (1.0, 0.0)) == 0
