"""Racing: what is dropped is dominated, what is not dominated stays as often as promised."""

import numpy as np

from llamanas.search.race import dropped_rows, race, split_items, survivors


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
    assert names(survivors(candidates, [], heats, ["parameters"], 0.95)) == {"n0", "n2", "n3"}


def test_the_test_is_paired():
    """Difficulty of items, which all share, is three times the distance; unpaired, nothing could be dropped."""
    heats = heats_of([0, -0.2], 100, 1, spread=0.1)
    assert names(survivors(rows(1, 1), [], heats, ["parameters"], 0.95)) == {"n0"}


def test_rivals_drop_candidates_and_are_not_returned():
    first, *others = rows(1, 2, 3)
    heats = heats_of([1, 0, 0], 200, 2)
    assert names(survivors(others, [first], heats, ["parameters"], 0.95)) == set()


def test_the_full_network_and_equal_networks_stay():
    full, other = rows(9, 1)
    heats = heats_of([-5, 5], 50, 3)
    assert survivors([full | {"origin": "full"}, other], [], heats, ["parameters"], 0.95)[0]["origin"] == "full"
    same = np.zeros(50)
    assert len(survivors(rows(1, 1), [], {"n0": same, "n1": same}, ["parameters"], 0.95)) == 2


def test_equals_are_dropped_no_more_often_than_the_confidence_allows():
    """Ten networks of one quality, the dearest tested against nine rivals, 300 times."""
    lost = 0
    for seed in range(300):
        kept = survivors(rows(*range(10)), [], heats_of([0.0] * 10, 40, seed), ["parameters"], 0.9)
        lost += "n9" not in names(kept)
    assert 0 < lost < 300 * 0.16


def test_the_order_of_candidates_changes_nothing():
    heats, candidates = heats_of([0, -0.2, -0.1, 0.3, -0.4], 60, 4), rows(3, 4, 5, 6, 7)
    kept = survivors(candidates, [], heats, ["parameters"], 0.8)
    assert 0 < len(kept) < 5
    assert names(survivors(candidates[::-1], [], heats, ["parameters"], 0.8)) == names(kept)


def answers_of(name: str, scores: list[float]) -> list[dict]:
    return [
        {"architecture": name, "item": str(item), "score": score, "credit": float(score > 0), "weight": 1.0}
        for item, score in enumerate(scores)
    ]


def test_the_heat_is_a_fixed_part_of_the_items():
    questions = [{"item": f"t/{number}"} for number in range(100)]
    heat, rest = split_items(questions, 0.25)
    assert len(heat) == 25 and sorted([*heat, *rest], key=questions.index) == questions
    again, _ = split_items(questions[::-1], 0.25)
    assert {row["item"] for row in again} == {row["item"] for row in heat}


def test_heats_of_all_candidates_are_kept_in_the_order_of_candidates():
    search = {"score": "search_score", "objective": "parameters", "second_objective": None, "racing_confidence": 0.95}
    scores = {name: values.tolist() for name, values in heats_of([1, 0, 0.5], 100, 5).items()}
    archive = [rows(1)[0] | {"search_score": 1.0}]
    heats = [row for name in ("n2", "n0", "n1") for row in answers_of(name, scores[name])]
    kept, ordered = race(rows(1, 2, 3)[1:], archive, heats, search)
    assert kept == [] and len(ordered) == 300
    assert list(dict.fromkeys(row["architecture"] for row in ordered)) == ["n0", "n1", "n2"]


def test_a_dropped_candidate_is_estimated_by_its_difference_from_the_full_network():
    """The heat's items are easier than all by 0.5: what counts is that it is 0.25 below the full network there."""
    candidates = [{"architecture": "f", "origin": "full"}, {"architecture": "a", "origin": "linas"}]
    scores = [{"architecture": "f", "search_score": 1.5, "search_accuracy": 0.7, "n_search": 40}]
    heats = [*answers_of("f", [2.0, 2.0, 2.0, 2.0]), *answers_of("a", [2.5, 2.5, 2.5, -0.5])]
    for archive in ([], [candidates[0] | scores[0]]):
        now, known = (candidates, scores) if not archive else (candidates[1:], [])
        (row,) = dropped_rows(now, archive, known, heats)
        assert row == {"architecture": "a", "search_score": 1.25, "search_accuracy": 0.7 - 0.25, "n_search": 4}
    assert dropped_rows(candidates[:1], [], scores, heats) == []
