"""Sub-networks that agree on their first sub-layers, as a trie: what they share is computed once.

A step is one sub-layer: a layer's attention of some number of heads, or its MLP of some width. Two sub-networks share
all steps up to the first one in which they differ, and with them the hidden states.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import TypeVar

from llamanas.architecture import Architecture, Step

State = TypeVar("State")


@dataclass
class Node:
    """A point that sub-networks pass; ``ends`` is the one that has no further step. Complete before it is asked."""

    children: dict[Step, "Node"] = field(default_factory=dict)
    ends: Architecture | None = None

    @cached_property
    def ordered(self) -> list[tuple[Step, "Node"]]:
        """The children as they are visited: the one that needs most states kept comes last, when its parent's is free.

        With this order the states kept at once grow with the logarithm of the number of sub-networks (Strahler).
        """
        return sorted(self.children.items(), key=lambda child: (child[1].states, child[0]))

    @cached_property
    def states(self) -> int:
        """How many hidden states are alive at once while everything below is visited."""
        needs = sorted(child.states for child in self.children.values())
        return max(needs[-1], needs[-2] + 1) if len(needs) > 1 else needs[0] if needs else 1

    @cached_property
    def steps(self) -> int:
        """Sub-layers to compute below."""
        return len(self.children) + sum(child.steps for child in self.children.values())


def build_trie(architectures: Iterable[Architecture]) -> Node:
    """The trie of the sub-networks' steps."""
    root = Node()
    for architecture in architectures:
        node = root
        for step in architecture.steps:
            node = node.children.setdefault(step, Node())
        node.ends = architecture
    return root


def walk(
    node: Node, state: State, advance: Callable[[State, Step, bool], State]
) -> Iterator[tuple[Architecture, State]]:
    """Visit the trie depth first: every sub-network with its last state.

    ``state`` is the one at ``node``; ``advance`` gives the state after a step, and its flag says whether the given one
    is needed again.
    """
    while True:
        if node.ends is not None:
            yield node.ends, state
        if not node.children:
            return
        *others, (step, last) = node.ordered
        for other, child in others:
            yield from walk(child, advance(state, other, True), advance)
        state, node = advance(state, step, False), last


def contiguous_part(rows: list[dict], number: int, of: int) -> list[dict]:
    """The ``number``-th of ``of`` parts of candidates: relatives together, and each part about as much work.

    ``rows`` are of artifact ``candidates``; a part may be empty.
    """
    ordered = sorted(rows, key=lambda row: Architecture.from_row(row).steps)
    before = accumulate((row["macs_per_token"] for row in ordered), initial=0)
    middles = [done + row["macs_per_token"] / 2 for done, row in zip(before, ordered, strict=False)]
    total = sum(row["macs_per_token"] for row in ordered)
    return [row for row, middle in zip(ordered, middles, strict=True) if int(of * middle / total) == number - 1]
