"""The trie of sub-networks: what is shared, in which order it is visited, how much is alive at once."""

import itertools

import pytest

from llamanas.architecture import Architecture, ModelShape, SubLayer
from llamanas.search.trie import build_trie, contiguous_part, walk

SHAPE = ModelShape("llama", 3, 8, 4, 4, 2, 4, 16, tied_head=True)
ALL = [
    Architecture(heads, widths)
    for heads in itertools.product((2, 1, 0), repeat=3)
    for widths in itertools.product((0, 2, 4), repeat=3)
    if any(heads) or any(widths)
]


@pytest.mark.parametrize("chosen", [ALL[:1], ALL[::7], ALL], ids=len)
def test_every_subnetwork_is_reached_with_its_own_steps(chosen):
    computed = []
    alive = {()}
    most = 0

    def advance(state, step, again):
        nonlocal most
        computed.append((*state, step))
        if not again:
            alive.discard(state)
        alive.add(computed[-1])
        most = max(most, len(alive))
        return computed[-1]

    trie = build_trie(chosen)
    reached = {}
    for architecture, state in walk(trie, (), advance):
        reached[architecture] = state
        # Whoever ends here and has no further steps frees its state; a test of the bound needs that told.
        if not any(other.steps[: len(state)] == state and len(other.steps) > len(state) for other in chosen):
            alive.discard(state)
    assert reached == {architecture: architecture.steps for architecture in chosen}
    assert len(computed) == len(set(computed)) == trie.steps
    assert most <= trie.states
    assert trie.states <= 2 + len(chosen).bit_length()


def test_shared_steps_are_counted():
    pair = [Architecture((2, 2), (4, 4)), Architecture((2, 2), (4, 2))]
    attention, mlp = SubLayer("attention", 2), SubLayer("mlp", 4)
    assert pair[0].steps == ((0, attention), (0, mlp), (1, attention), (1, mlp))
    assert build_trie(pair).steps == 5


@pytest.mark.parametrize("of", [1, 2, 5])
def test_parts_are_whole_even_and_keep_relatives_together(of):
    rows = [architecture.row(SHAPE, 4) for architecture in ALL]
    parts = [contiguous_part(rows, number, of) for number in range(1, of + 1)]
    assert sorted(row["architecture"] for part in parts for row in part) == sorted(row["architecture"] for row in rows)
    work = [sum(row["macs_per_token"] for row in part) for part in parts]
    assert max(work) - min(work) <= 2 * SHAPE.full.macs_per_token(SHAPE)
    computed = sum(build_trie(map(Architecture.from_row, part)).steps for part in parts)
    scattered = sum(build_trie(ALL[number::of]).steps for number in range(of))
    assert computed <= scattered


def test_more_parts_than_candidates_leave_some_empty():
    rows = [architecture.row(SHAPE, 4) for architecture in ALL[:2]]
    assert sum(len(contiguous_part(rows, number, 5)) for number in range(1, 6)) == 2
    assert contiguous_part([], 1, 2) == []
