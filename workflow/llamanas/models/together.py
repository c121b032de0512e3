"""Several sub-networks passing through the layers together.

What they agree on from the first layer on is computed once, and where they differ, equal sub-layers of several are one
product: a step then launches little more than the full network alone does, which is what a small network waits for.
"""

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from llamanas.architecture import Architecture, SubLayer
from llamanas.models.place import Place

Networks = tuple[int, ...]  # those that have agreed so far, by their numbers


class _Stack:
    """States [count * B, T, hidden size] of ``count`` groups of networks, one after the other."""

    def __init__(self, states: Tensor, count: int) -> None:
        self.states, self.count = states, count

    @cached_property
    def parts(self) -> tuple[Tensor, ...]:
        """The states [B, T, hidden size] of each; a single split, whose gradient is a single concatenation."""
        return self.states.chunk(self.count)


Where = tuple[_Stack, int]  # a stack, and which part of it


def pass_together(
    x: Tensor, place: Place, layers: Sequence[nn.Module], architectures: list[Architecture], call: Callable[..., Tensor]
) -> list[Tensor]:
    """The states that leave the last layer, for each architecture.

    ``x`` [B, T, hidden size] enters the first layer; ``call(layer, x, place, part)`` computes a sub-layer.
    """
    states: dict[Networks, Where] = {tuple(range(len(architectures))): (_Stack(x, 1), 0)}
    places = {1: place}
    for index, layer in enumerate(layers):
        both = zip(*(architecture.sizes[index] for architecture in architectures), strict=True)
        for kind, sizes in zip(("attention", "mlp"), both, strict=True):
            moves: dict[int, dict[Networks, Where]] = {}
            for group, where in states.items():
                for size in dict.fromkeys(sizes[number] for number in group):
                    alike = tuple(number for number in group if sizes[number] == size)
                    moves.setdefault(size, {})[alike] = where
            states = moves.pop(0, {})  # of these networks the sub-layer is no part
            for size, groups in moves.items():
                count = len(groups)
                if count not in places:
                    places[count] = place.repeated(count)
                stack = _Stack(call(layer, _joined([*groups.values()]), places[count], SubLayer(kind, size)), count)
                states |= {group: (stack, number) for number, group in enumerate(groups)}
    last = {number: stack.parts[place] for group, (stack, place) in states.items() for number in group}
    return [last[number] for number in range(len(architectures))]


def _joined(wanted: list[Where]) -> Tensor:
    """The wanted states one after the other, which is nothing to do where they are a whole stack."""
    first = wanted[0][0]
    if wanted == [(first, number) for number in range(first.count)]:
        return first.states
    return torch.cat([stack.parts[number] for stack, number in wanted])
