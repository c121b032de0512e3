"""Bounds that the architectures of a search keep, such as a largest size, and how many of the space keep them."""

from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from operator import attrgetter
from typing import TYPE_CHECKING

from llamanas.architecture import Architecture, ModelShape
from llamanas.errors import LlamaNasError
from llamanas.supernet.space import Choice, SearchSpace, choice_table

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

COLUMNS = ("parameters", "macs_per_token", "latency")  # of a choice, which add up over the layers


class Limits:
    """The bounds of ``search.limits`` as bounds on what the layers' choices add up to.

    ``bounds`` holds for each of ``columns``, those of :data:`COLUMNS` that are known, the lowest and the highest sum.
    """

    def __init__(self, space: SearchSpace, shape: ModelShape, limits: dict, bytes_per_parameter: int) -> None:
        """``limits`` gives [at least, at most] for the columns and ``bytes``, or null.

        Raises:
            LlamaNasError: a lower bound is above its upper bound, or no architecture of the space can keep the bounds.
        """
        self.space = space
        self.columns = COLUMNS if space.latency(space.full) else COLUMNS[:-1]
        self._costs = attrgetter(*self.columns)
        full = shape.full.row(shape, bytes_per_parameter) | {"latency": space.latency(space.full)}
        layers = [sum(getattr(choices[-1], column) for choices in space.choices) for column in self.columns]
        fixed = {column: full[column] - own for column, own in zip(self.columns, layers, strict=True)}
        given = {name: pair for name, pair in limits.items() if pair is not None}
        if wrong := [name for name, (low, high) in given.items() if low > high]:
            raise LlamaNasError(f"search.limits.{wrong[0]} is {given[wrong[0]]}; expected [at least, at most].")
        pairs = {column: [given[column]] if column in given else [] for column in self.columns}
        if "bytes" in given:
            pairs["parameters"].append([bound / bytes_per_parameter for bound in given["bytes"]])
        self.bounds: list[tuple[float, float]] = []
        for column, own in zip(self.columns, layers, strict=True):
            lows, highs = ([pair[end] - fixed[column] for pair in pairs[column]] for end in (0, 1))
            self.bounds.append((max(lows, default=0), min(highs, default=own)))
        self.active = bool(given)
        if self.active and next(self.architectures(), None) is None:
            raise LlamaNasError(
                f"no architecture of the search space keeps search.limits {given}. The full network has "
                + ", ".join(f"{full[name]:,} {name}" for name in given)
                + "; widen the limits, or the space."
            )

    def allow(self, architecture: Architecture) -> bool:
        """Whether an architecture of the space keeps the bounds."""
        genes = self.space.encode(architecture)
        return self._within(self._sums(choices[gene] for choices, gene in zip(self.space.choices, genes, strict=True)))

    def architectures(self) -> Iterator[Architecture]:
        """All architectures of the space that keep the bounds, the larger choices of the first layers first."""
        layers = self.space.choices
        columns = [[[getattr(choice, column) for choice in choices] for choices in layers] for column in self.columns]
        least, most = (
            [[*accumulate(map(pick, reversed(column)), initial=0)][::-1] for column in columns] for pick in (min, max)
        )
        keepable = [*accumulate((any(c.kept for c in choices) for choices in reversed(layers)), initial=0)][::-1]

        def below(genes: tuple[int, ...], sums: tuple[int, ...], depth: int) -> Iterator[tuple[int, ...]]:
            layer = len(genes)
            reachable = all(
                done + least[c][layer] <= self.bounds[c][1] and done + most[c][layer] >= self.bounds[c][0]
                for c, done in enumerate(sums)
            )
            if not reachable or depth + keepable[layer] < self.space.minimum_depth:
                return
            if layer == len(layers):
                yield genes
                return
            for gene in reversed(range(len(layers[layer]))):
                choice = layers[layer][gene]
                added = tuple(done + part for done, part in zip(sums, self._sums([choice]), strict=True))
                yield from below((*genes, gene), added, depth + choice.kept)

        return filter(self.space.contains, map(self.space.decode, below((), (0,) * len(self.columns), 0)))

    def count(self) -> int:
        """Exact number of architectures that keep the bounds, counted layer by layer by depth and sums."""
        if not self.active:
            return self.space.size
        return sum(map(self._count, self.space.products))

    def _count(self, product: list[list[int]]) -> int:
        states = Counter({(0, *(0 for _ in self.columns)): 1})
        for choices, genes in zip(self.space.choices, product, strict=True):
            following: Counter[tuple[int, ...]] = Counter()
            for (depth, *sums), ways in states.items():
                for choice in (choices[gene] for gene in genes):
                    added = (done + part for done, part in zip(sums, self._sums([choice]), strict=True))
                    following[min(depth + choice.kept, self.space.minimum_depth), *added] += ways
            states = following
        return sum(
            ways
            for (depth, *sums), ways in states.items()
            if depth == self.space.minimum_depth and self._within(tuple(sums))
        )

    def random(self, generator: "Generator") -> Architecture:
        """A random architecture of the space, which keeps the bounds on parameters but for a little."""
        own = self.space.parameters
        low, high = self.bounds[0]
        low, high = max(low, own(self.space.smallest)), min(high, own(self.space.full))
        return self.space.random(generator, high - generator.uniform(0, max(high - low, 0)))

    def violation(self, genes: "NDArray") -> "NDArray":
        """By how much genes [n, layers] break each active bound, as a share of the full network's layers [n, bounds].

        Columns are positive where a bound is broken, as pymoo has constraints.
        """
        import numpy as np

        broken = []
        for column, (low, high) in zip(self.columns, self.bounds, strict=True):
            table = choice_table([getattr(choice, column) for choice in choices] for choices in self.space.choices)
            sums = table[np.arange(genes.shape[1]), genes].sum(axis=1)
            broken += [(low - sums) / table.max(axis=1).sum(), (sums - high) / table.max(axis=1).sum()]
        return np.column_stack(broken)

    def _sums(self, chosen: "list[Choice] | Iterator[Choice]") -> tuple[int, ...]:
        return tuple(map(sum, zip(*map(self._costs, chosen), strict=True)))

    def _within(self, sums: tuple[int, ...]) -> bool:
        return all(low <= value <= high for value, (low, high) in zip(sums, self.bounds, strict=True))
