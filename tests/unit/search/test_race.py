"""Racing: what is dropped is dominated, what is not dominated stays as often as promised."""

import numpy as np

from llamanas.search.race import survivors


def rows(*costs: int) -> list[dict]:
    return [{"architecture": f"n{i}", "origin": "linas", "parameters": cost} for i, cost in enumerate(costs)]


def heats_of(means: list[float], items: int, seed: int, spread: float = 1.0) -> dict[str, np.ndarray]:
    """Item scores around the means; all share the items' own difficulty."""
    draw = np.random.default_rng(seed)
    difficulty = draw.normal(0, 3, items)
    return {f"n{i}": mean + difficulty + draw.normal(0, spread, items) for i, mean in enumerate(means)}


def names(kept: list[dict]) -> set[str]:
    return {row["architecture"] for row in kept}


def test_only_what_costs_more_and_is_clearly_worse_is_dropped():
    candidates = rows(10, 10, 5, 20)
    heats = heats_of([0, -1, -1, 1], 200, 0)
    assert names(survivors(candidates, [], heats, "parameters", 0.95)) == {"n0", "n2", "n3"}


def test_the_test_is_paired():
    """Difficulty of items, which all share, is three times the distance; unpaired, nothing could be dropped."""
    heats = heats_of([0, -0.2], 100, 1, spread=0.1)
    assert names(survivors(rows(1, 1), [], heats, "parameters", 0.95)) == {"n0"}


def test_rivals_drop_candidates_and_are_not_returned():
    first, *others = rows(1, 2, 3)
    heats = heats_of([1, 0, 0], 200, 2)
    assert names(survivors(others, [first], heats, "parameters", 0.95)) == set()


def test_the_full_network_and_equal_networks_stay():
    full, other = rows(9, 1)
    heats = heats_of([-5, 5], 50, 3)
    assert survivors([full | {"origin": "full"}, other], [], heats, "parameters", 0.95)[0]["origin"] == "full"
    same = np.zeros(50)
    assert len(survivors(rows(1, 1), [], {"n0": same, "n1": same}, "parameters", 0.95)) == 2


def test_equals_are_dropped_no_more_often_than_the_confidence_allows():
    """Ten networks of one quality, the dearest tested against nine rivals, 300 times."""
    lost = 0
    for seed in range(300):
        kept = survivors(rows(*range(10)), [], heats_of([0.0] * 10, 40, seed), "parameters", 0.9)
        lost += "n9" not in names(kept)
    assert 0 < lost < 300 * 0.16


def test_the_order_of_candidates_changes_nothing():
    heats, candidates = heats_of([0, -0.2, -0.1, 0.3, -0.4], 60, 4), rows(3, 4, 5, 6, 7)
    kept = survivors(candidates, [], heats, "parameters", 0.8)
    assert 0 < len(kept) < 5
    assert names(survivors(candidates[::-1], [], heats, "parameters", 0.8)) == names(kept)
