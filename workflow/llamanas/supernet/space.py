"""The search space: which choices each layer has, what they cost, and how architectures are counted and drawn."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from llamanas.architecture import Architecture, ModelShape
from llamanas.errors import LlamaNasError

if TYPE_CHECKING:
    import numpy

Genes = tuple[int, ...]


class Choice(NamedTuple):
    """One admissible choice of a layer, with the parameters (norms included) and multiply-accumulates it costs.

    ``latency`` is in microseconds, 0 where it was not measured.
    """

    kv_heads: int
    intermediate_size: int
    parameters: int
    macs_per_token: int
    latency: int = 0

    @property
    def kept(self) -> bool:
        """Whether the layer counts for the depth."""
        return self.kv_heads > 0 or self.intermediate_size > 0

    def reductions(self, choices: "tuple[Choice, ...]") -> list[tuple[int, int]]:
        """Indices of the choices that are smaller sub-networks of this one, and the parameters that each saves."""
        return [
            (index, self.parameters - other.parameters)
            for index, other in enumerate(choices)
            if other.kv_heads <= self.kv_heads and other.intermediate_size <= self.intermediate_size and other != self
        ]


def minimum_depth(shape: ModelShape, settings: dict) -> int:
    """Fewest layers of a sub-network: the least of ``depths``, or else a share of the full depth, rounded up."""
    if settings["depths"]:
        return min(settings["depths"])
    return math.ceil(round(settings["minimum_depth"] * shape.layers, 9))  # 0.7 * 10 is a little above 7


def build_space(shape: ModelShape, settings: dict) -> list[dict]:
    """Rows of artifact ``space``: each layer's choices from the smallest (dropped, where allowed) to the full one.

    Raises:
        LlamaNasError: a width, a number of heads or a depth exceeds the full one, or the full network is the only
            architecture.
    """
    if deeper := [depth for depth in settings["depths"] or () if depth > shape.layers]:
        raise LlamaNasError(f"space.depths has {deeper}, but the full network has {shape.layers} layers. List fewer.")
    if wider := [width for width in settings["intermediate_sizes"] if width > shape.intermediate_size]:
        raise LlamaNasError(
            f"space.intermediate_sizes has {wider}, but the full network's MLP is only {shape.intermediate_size} wide. "
            "List smaller widths."
        )
    if more := [number for number in settings["kv_heads"] if number > shape.kv_heads]:
        raise LlamaNasError(
            f"space.kv_heads has {more}, but an attention of the full network has {shape.kv_heads} key-value heads. "
            "List fewer."
        )
    rows = [row for layer in range(shape.layers) for row in _layer_rows(shape, layer, settings)]
    if space_of(rows, shape, settings).size == 1:
        raise LlamaNasError(
            "the search space holds the full network alone. Add widths to space.intermediate_sizes or numbers to "
            "space.kv_heads, allow space.drop_attention, or allow space.drop_layers with a smaller space.minimum_depth."
        )
    return rows


def choice_table(values: Iterable[Iterable[float]]) -> "numpy.ndarray":
    """Array [layers, most choices of a layer] of one value per layer and choice; zero where there is no such choice."""
    import numpy

    rows = [list(row) for row in values]
    table = numpy.zeros((len(rows), max(map(len, rows))))
    for layer, row in enumerate(rows):
        table[layer, : len(row)] = row
    return table


def search_space(shape: ModelShape, settings: dict) -> "SearchSpace":
    """The space of a network under section ``space`` of the config; raises as :func:`build_space`."""
    return space_of(build_space(shape, settings), shape, settings)


def space_of(rows: Iterable[dict], shape: ModelShape, settings: dict) -> "SearchSpace":
    """The space of a table of artifact ``space`` that was made under section ``space`` of the config."""
    depths = {*settings["depths"], shape.layers} if settings["depths"] else ()
    return SearchSpace.from_rows(rows, minimum_depth(shape, settings), tuple(sorted(depths, reverse=True)))


def _layer_rows(shape: ModelShape, layer: int, settings: dict) -> list[dict]:
    widths = {*settings["intermediate_sizes"], shape.intermediate_size}
    options = {(heads, width) for heads in {*settings["kv_heads"], shape.kv_heads} for width in widths}
    if layer > 0 and settings["drop_attention"]:  # the first layer's attention stays, or no runtime can load it
        options |= {(0, width) for width in widths if width > 0}
    if layer > 0 and settings["drop_layers"] and (not settings["depths"] or layer >= min(settings["depths"])):
        options.add((0, 0))
    choices = []
    for heads, width in options:
        parameters = shape.attention_parameters(heads) + shape.mlp_parameters(width)
        choices.append(Choice(heads, width, parameters, shape.attention_macs(heads) + shape.mlp_macs(width)))
    choices.sort(key=lambda choice: (choice.parameters, choice))
    return [{"layer": layer, "choice": index} | choice._asdict() for index, choice in enumerate(choices)]


@dataclass(frozen=True)
class SearchSpace:
    """All architectures with an admissible choice in every layer and at least ``minimum_depth`` layers kept.

    Genes are the indices of the choices, layer by layer; within a layer they run from small to full. With ``depths``
    only these numbers of layers are admissible, and the last layers are those that go.
    """

    choices: tuple[tuple[Choice, ...], ...]
    minimum_depth: int = 1
    depths: tuple[int, ...] = ()
    fixed_latency: int = 0

    @classmethod
    def from_rows(cls, rows: Iterable[dict], minimum_depth: int, depths: tuple[int, ...] = ()) -> "SearchSpace":
        """The space of a table of artifact ``space``; a ``minimum_depth`` above its layers is an error."""
        layers: dict[int, list[Choice]] = {}
        for row in sorted(rows, key=lambda row: (row["layer"], row["choice"])):
            layers.setdefault(row["layer"], []).append(
                Choice(*(row[field] for field in Choice._fields if field != "latency"))
            )
        if minimum_depth > len(layers):
            raise LlamaNasError(f"a minimum depth of {minimum_depth} asks too much of {len(layers)} layers")
        return cls(tuple(map(tuple, layers.values())), minimum_depth, depths)

    def timed(self, latency: list[dict]) -> "SearchSpace":
        """This space with the latency of each choice, from rows of artifact ``latency``."""
        parts = {(row["part"], row["size"]): row["microseconds"] for row in latency}
        choices = tuple(
            tuple(c._replace(latency=parts["attention", c.kv_heads] + parts["mlp", c.intermediate_size]) for c in layer)
            for layer in self.choices
        )
        return replace(self, choices=choices, fixed_latency=parts["fixed", 0])

    def latency(self, architecture: Architecture) -> int:
        """Microseconds that the architecture's parts take together; 0 where none was measured."""
        genes = self.encode(architecture)
        return self.fixed_latency + sum(layer[gene].latency for layer, gene in zip(self.choices, genes, strict=True))

    @cached_property
    def products(self) -> list[list[list[int]]]:
        """The parts of the space in each of which layers choose independently of each other, as genes of each layer.

        There is one for each of ``depths``, the full depth first; without them one, in which the minimum depth is to
        be kept as well.
        """
        everything = [list(range(len(choices))) for choices in self.choices]
        if not self.depths:
            return [everything]
        kept = [[gene for gene in genes if c[gene].kept] for genes, c in zip(everything, self.choices, strict=True)]
        return [kept[:depth] + [[0]] * (len(kept) - depth) for depth in self.depths]

    @cached_property
    def size(self) -> int:
        """Exact number of architectures, counted by depth layer after layer."""
        return sum(map(self._count, self.products))

    def _count(self, product: list[list[int]]) -> int:
        by_depth = [1] + [0] * len(self.choices)
        for choices, genes in zip(self.choices, product, strict=True):
            kept, dropped = (sum(choices[gene].kept is is_kept for gene in genes) for is_kept in (True, False))
            by_depth = [dropped * here + kept * below for here, below in zip(by_depth, [0, *by_depth], strict=False)]
        return sum(by_depth[self.minimum_depth :])

    @property
    def full(self) -> Architecture:
        """The full network."""
        return self.decode(tuple(len(choices) - 1 for choices in self.choices))

    @cached_property
    def smallest(self) -> Architecture:
        """The architecture with the fewest parameters; of layers that save the same, the last ones are dropped."""
        kept = [next(index for index, choice in enumerate(choices) if choice.kept) for choices in self.choices]
        droppable = [layer for layer, index in enumerate(kept) if index > 0]
        droppable.sort(key=lambda layer: (-self.choices[layer][kept[layer]].parameters, -layer))
        for layer in droppable[: len(self.choices) - self.minimum_depth]:
            kept[layer] = 0
        return self.decode(tuple(kept))

    @cached_property
    def _index(self) -> list[dict[tuple[int, int], int]]:
        return [{choice[:2]: index for index, choice in enumerate(choices)} for choices in self.choices]

    def encode(self, architecture: Architecture) -> Genes:
        """The genes of an architecture.

        Raises:
            LlamaNasError: the space does not have it.
        """
        if not self.contains(architecture):
            raise LlamaNasError(
                f"architecture {architecture.id} is not in the search space, so its table was made with other settings "
                "of `space`. Delete it and run the workflow again."
            )
        return tuple(index[layer] for index, layer in zip(self._index, architecture.sizes, strict=True))

    def decode(self, genes: Iterable[int]) -> Architecture:
        """The architecture of genes."""
        chosen = [choices[gene] for choices, gene in zip(self.choices, genes, strict=True)]
        return Architecture(tuple(c.kv_heads for c in chosen), tuple(c.intermediate_size for c in chosen))

    def contains(self, architecture: Architecture) -> bool:
        """Whether every layer's choice is admissible and enough layers are kept."""
        layers = architecture.sizes
        admissible = len(layers) == len(self.choices) and architecture.depth >= self.minimum_depth
        if self.depths:
            admissible &= architecture.depth in self.depths
            admissible &= architecture.kept_layers == tuple(range(architecture.depth))
        return admissible and all(layer in index for index, layer in zip(self._index, layers, strict=True))

    def repair(self, genes: Iterable[int], generator: "numpy.random.Generator") -> Genes:
        """The genes with random layers brought back, each at a random choice, until the minimum depth holds.

        With ``depths``, the nearest of them (the larger of two) is kept, and what is missing below it brought back.
        """
        repaired = [int(gene) for gene in genes]
        dropped = [layer for layer, gene in enumerate(repaired) if not self.choices[layer][gene].kept]
        depth = len(repaired) - len(dropped)
        back = generator.permutation(dropped).tolist()[: max(self.minimum_depth - depth, 0)]
        if self.depths:
            depth = min(self.depths, key=lambda other: (abs(other - depth), -other))
            back = [layer for layer in dropped if layer < depth]
            repaired[depth:] = [0] * (len(repaired) - depth)
        for layer in back:
            kept = [index for index, choice in enumerate(self.choices[layer]) if choice.kept]
            repaired[layer] = kept[generator.integers(len(kept))]
        return tuple(repaired)

    def parameters(self, architecture: Architecture) -> int:
        """Parameters of the architecture's layers, without what no sub-network can drop."""
        genes = self.encode(architecture)
        return sum(choices[gene].parameters for choices, gene in zip(self.choices, genes, strict=True))

    @cached_property
    def _reductions(self) -> list[list[list[tuple[int, int]]]]:
        """The reductions of each layer's choices."""
        return [[here.reductions(choices) for here in choices] for choices in self.choices]

    def random(self, generator: "numpy.random.Generator", parameters: float | None = None) -> Architecture:
        """A random architecture of at least so many parameters in its layers, and little more.

        Without a number, every size is equally likely: one is drawn uniformly between the smallest and the full
        network. Random layers of the full network are reduced at random as long as enough remains.
        """
        if parameters is None:
            parameters = self.parameters(self.full) - generator.uniform(
                0, self.parameters(self.full) - self.parameters(self.smallest)
            )
        spare = self.parameters(self.full) - parameters
        genes = list(self.encode(self.full))
        product = self.products[0]
        if self.depths:
            tops = [[genes[-1] for genes in product] for product in self.products]
            sizes = [self.parameters(self.decode(top)) for top in tops]
            fitting = max(sum(size >= parameters for size in sizes), 1)
            chosen = int(generator.integers(fitting))
            genes, product, spare = tops[chosen], self.products[chosen], sizes[chosen] - parameters
        depth = len(genes)
        while options := [
            (layer, choice, saved)
            for layer, gene in enumerate(genes)
            for choice, saved in self._reductions[layer][gene]
            if choice in product[layer]
            and saved <= spare
            and (depth > self.minimum_depth or self.choices[layer][choice].kept)
        ]:
            layer, choice, saved = options[generator.integers(len(options))]
            depth -= not self.choices[layer][choice].kept
            genes[layer], spare = choice, spare - saved
        return self.decode(genes)
