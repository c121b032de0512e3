"""The search space against enumeration of small spaces."""

from itertools import product

import numpy as np
import pytest

from llamanas.architecture import Architecture, ModelShape
from llamanas.errors import LlamaNasError
from llamanas.supernet.ladder import ladder
from llamanas.supernet.space import SearchSpace, build_space, minimum_depth, search_space
from synthetic_search import Problem

SHAPE = ModelShape("llama", 4, 64, 256, 4, 2, 16, 320, tied_head=True, attention_bias=True, mlp_bias=True)
SETTINGS = {
    "intermediate_sizes": [64, 128],
    "drop_layers": True,
    "kv_heads": [],
    "drop_attention": True,
    "minimum_depth": 0.5,
    "depths": None,
}
SPACES = [
    {},
    {"intermediate_sizes": [0, 128]},
    {"drop_layers": False},
    {"drop_attention": False},
    {"kv_heads": [1]},
    {"kv_heads": [1], "intermediate_sizes": [], "drop_layers": False},
    {"intermediate_sizes": [], "minimum_depth": 0.25},
    {"drop_layers": False, "drop_attention": False},
    {"minimum_depth": 1},
    {"depths": [2, 3]},
    {"depths": [3], "intermediate_sizes": [128], "drop_attention": False},
]


@pytest.fixture(params=SPACES, ids=str)
def space(request) -> SearchSpace:
    return search_space(SHAPE, SETTINGS | request.param)


def everything(settings: dict) -> set[Architecture]:
    """All architectures by the words of the config's schema."""
    widths = {*settings["intermediate_sizes"], SHAPE.intermediate_size}
    found = set()
    for heads in product({0, *settings["kv_heads"], SHAPE.kv_heads}, repeat=SHAPE.layers):
        for sizes in product(widths | {0}, repeat=SHAPE.layers):
            layers = list(zip(heads, sizes, strict=True))
            admissible = heads[0] and all(
                size in widths if kept else (settings["drop_attention"] if size else settings["drop_layers"])
                for kept, size in layers
            )
            present = [kept > 0 or size > 0 for kept, size in layers]
            depth = sum(present)
            enough = depth >= settings["minimum_depth"] * SHAPE.layers
            if settings["depths"]:
                enough = depth in (*settings["depths"], SHAPE.layers) and all(present[:depth])
            if admissible and enough:
                found.add(Architecture(heads, sizes))
    return found


@pytest.mark.parametrize("changes", SPACES, ids=str)
def test_space_has_exactly_the_admissible_architectures(changes):
    space, expected = search_space(SHAPE, SETTINGS | changes), everything(SETTINGS | changes)
    genes = product(*(range(len(choices)) for choices in space.choices))
    assert {a for a in map(space.decode, genes) if space.contains(a)} == expected
    assert space.size == len(expected)
    assert space.full == SHAPE.full
    smallest = min(a.parameters(SHAPE) for a in expected)
    assert space.smallest in expected and space.smallest.parameters(SHAPE) == smallest


def test_rows_cost_what_architectures_cost(space):
    rows = [row for row in build_space(SHAPE, SETTINGS) if row["layer"] == 2]
    assert [row["choice"] for row in rows] == list(range(len(rows)))
    assert [row["parameters"] for row in rows] == sorted(row["parameters"] for row in rows)
    for row in rows:
        changed = SHAPE.full.with_layer(2, row["kv_heads"], row["intermediate_size"])
        for name, cost in (("parameters", Architecture.parameters), ("macs_per_token", Architecture.macs_per_token)):
            assert cost(SHAPE.full, SHAPE) - cost(changed, SHAPE) == rows[-1][name] - row[name]


def test_first_layer_keeps_its_attention(space):
    assert all(choice.kv_heads for choice in space.choices[0])


def test_genes_round_trip_and_reductions_are_ordered(space):
    random = np.random.default_rng(0)
    for _ in range(50):
        architecture = space.random(random)
        assert space.contains(architecture)
        assert space.decode(space.encode(architecture)) == architecture
        assert SHAPE.fixed_parameters + space.parameters(architecture) == architecture.parameters(SHAPE)


def test_encode_refuses_foreign_architectures(space):
    for foreign in (
        Architecture((0, 2, 2, 2), (256,) * 4),
        Architecture((2,) * 4, (256, 256, 256, 96)),
        Architecture((2,) * 3, (256,) * 3),
    ):
        with pytest.raises(LlamaNasError, match="not in the search space"):
            space.encode(foreign)


def test_minimum_depth_is_rounded_up_without_floating_error():
    tall = ModelShape("llama", 10, 64, 256, 4, 2, 16, 320, tied_head=True)
    assert minimum_depth(tall, {"minimum_depth": 0.7, "depths": None}) == 7
    assert minimum_depth(tall, {"minimum_depth": 0.71, "depths": None}) == 8
    assert minimum_depth(tall, {"minimum_depth": 0.01, "depths": None}) == 1


def test_repair_restores_the_minimum_depth_and_nothing_else(space):
    if space.depths:
        pytest.skip("brings back or drops what the nearest depth asks for, which another test compares")
    random = np.random.default_rng(1)
    for genes in product(*(range(len(choices)) for choices in space.choices)):
        repaired = space.repair(genes, random)
        architecture, before = space.decode(repaired), space.decode(genes)
        assert space.contains(architecture)
        assert architecture.depth == max(before.depth, space.minimum_depth)
        assert all(new == old for layer, (new, old) in enumerate(zip(repaired, genes, strict=True))
                   if layer in before.kept_layers)  # fmt: skip


def test_random_architectures_have_every_size_and_follow_the_generator():
    shape = ModelShape("llama", 12, 64, 256, 4, 2, 16, 320, tied_head=True)
    space = search_space(shape, SETTINGS)
    random = np.random.default_rng(2)
    drawn = [space.random(random) for _ in range(400)]
    low, high = space.parameters(space.smallest), space.parameters(space.full)
    shares = [(space.parameters(architecture) - low) / (high - low) for architecture in drawn]
    counts, _ = np.histogram(shares, bins=8, range=(0, 1))
    assert counts.min() > 30 and counts.sum() == 400  # 50 are expected in each, with a deviation of 6.6
    assert drawn[:20] == [space.random(again) for again in [np.random.default_rng(2)] for _ in range(20)]
    assert drawn[:20] != [space.random(other) for other in [np.random.default_rng(3)] for _ in range(20)]


def test_random_architectures_of_a_size_are_as_small_as_it_allows(space):
    random, full = np.random.default_rng(3), space.parameters(space.full)
    for wanted in [*random.uniform(space.parameters(space.smallest), full, 30), full]:
        architecture = space.random(random, wanted)
        size, genes = space.parameters(architecture), space.encode(architecture)
        smaller = {
            space.decode(genes[:layer] + (choice,) + genes[layer + 1 :])
            for layer, (choices, gene) in enumerate(zip(space.choices, genes, strict=True))
            for choice, _ in choices[gene].reductions(choices)
        }
        assert space.contains(architecture) and wanted <= size <= full
        assert all(space.parameters(each) < wanted for each in smaller if space.contains(each))


def test_too_wide_and_too_small_spaces_are_refused():
    with pytest.raises(LlamaNasError, match=r"\[512\].*only 256 wide"):
        build_space(SHAPE, SETTINGS | {"intermediate_sizes": [64, 512]})
    alone = {"intermediate_sizes": [256], "drop_attention": False}
    with pytest.raises(LlamaNasError, match="full network alone"):
        build_space(SHAPE, SETTINGS | alone | {"drop_layers": False})
    with pytest.raises(LlamaNasError, match="full network alone"):
        build_space(SHAPE, SETTINGS | alone | {"minimum_depth": 1})
    with pytest.raises(LlamaNasError, match="minimum depth of 5"):
        SearchSpace.from_rows(build_space(SHAPE, SETTINGS), 5)


def test_published_space_has_its_size():
    """32 layers of one narrower width, of which the last 4 or 8 may go: each number of layers chooses widths alone."""
    shape = ModelShape("llama", 32, 4096, 11008, 32, 32, 128, 32000, tied_head=False)
    published = {"intermediate_sizes": [5504], "drop_attention": False, "depths": [24, 28]}
    space = search_space(shape, SETTINGS | published)
    assert space.size == 2**24 + 2**28 + 2**32
    assert space.smallest.kept_layers == tuple(range(24)) and set(space.smallest.intermediate_sizes[:24]) == {5504}


def test_a_space_of_depths_is_drawn_repaired_and_descended_within_itself():
    problem = Problem(8, 0, depths=[4, 6], drop_attention=False)
    space, draws = problem.space, np.random.default_rng(0)
    drawn = [space.random(draws) for _ in range(100)]
    assert {architecture.depth for architecture in drawn} == {4, 6, 8}
    sizes = [space.parameters(architecture) for architecture in drawn]
    assert min(sizes) < 0.6 * max(sizes)
    for _ in range(100):
        genes = [draws.integers(len(choices)) for choices in space.choices]
        repaired = space.decode(space.repair(genes, draws))
        assert space.contains(repaired)
        kept = sum(choices[gene].kept for choices, gene in zip(space.choices, genes, strict=True))
        assert repaired.depth == {4: 4, 5: 6, 6: 6, 7: 8, 8: 8}[kept]
    rungs = ladder(space, problem.importance)
    assert all(map(space.contains, rungs)) and rungs[0] == space.full
    assert {rung.depth for rung in rungs} >= {4, 8}
    sizes = [space.parameters(rung) for rung in rungs]
    assert sizes == sorted(set(sizes), reverse=True)


def test_more_layers_than_there_are_is_an_error():
    with pytest.raises(LlamaNasError, match="space.depths has"):
        search_space(SHAPE, SETTINGS | {"depths": [2, 9]})
