"""The importance ladder: the full network reduced step by step where it costs least, by measured sensitivities."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from llamanas.architecture import Architecture
from llamanas.errors import LlamaNasError
from llamanas.supernet.space import Genes, SearchSpace


def sensitivities(space: SearchSpace, importance: list[dict]) -> list[list[tuple[float, float]]]:
    """Per layer and choice: divergence (nats) caused by its missing attention heads, and by its narrowed MLP.

    ``importance`` has rows of kind ``attention`` (index: remaining key-value heads) and ``mlp`` (index: remaining
    width); others are ignored.

    Raises:
        LlamaNasError: the sensitivity of a choice of the space was not measured.
    """
    scores = {(r["layer"], r["kind"], r["index"]): r["score"] for r in importance if r["kind"] in ("attention", "mlp")}

    def score(layer: int, kind: str, index: int) -> float:
        if (layer, kind, index) not in scores:
            raise LlamaNasError(
                f"the importance table lacks layer {layer}, kind {kind!r}, index {index}, which the search space asks "
                "for. It was made for another space or another network; delete it and run the workflow again."
            )
        return scores[layer, kind, index]

    return [
        [
            (
                0.0 if heads == choices[-1].kv_heads else score(layer, "attention", heads),
                0.0 if width == choices[-1].intermediate_size else score(layer, "mlp", width),
            )
            for heads, width, *_ in choices
        ]
        for layer, choices in enumerate(space.choices)
    ]


class Ladder:
    """The greedy descent from the full network: each step takes the reduction that costs least per parameter saved.

    Sensitivities of several reductions are taken to add up. ``added`` [layers, most choices of a layer] is what each
    choice adds to the divergence, in nats.

    Raises:
        LlamaNasError: the sensitivity of a choice of the space was not measured.
    """

    def __init__(self, space: SearchSpace, importance: list[dict]) -> None:
        self.space = space
        shape = len(space.choices), max(map(len, space.choices))
        self.added, self.parameters = np.full(shape, np.inf), np.full(shape, np.iinfo(np.int64).max)
        self.kept = np.ones(shape, bool)
        for layer, (choices, parts) in enumerate(zip(space.choices, sensitivities(space, importance), strict=True)):
            self.added[layer, : len(choices)] = [sum(part) for part in parts]
            self.parameters[layer, : len(choices)] = [choice.parameters for choice in choices]
            self.kept[layer, : len(choices)] = [choice.kept for choice in choices]

    def descend(self, added: NDArray | None = None) -> Iterator[tuple[Genes, int]]:
        """Genes and parameters of each rung, from the full network to the smallest that single reductions reach.

        In a space of several depths each is descended apart; of all their rungs, those stay that add less than every
        smaller one. ``added`` stands in for the measured sensitivities.
        """
        added = self.added if added is None else added
        descents = (self._descend(added, product) for product in self.space.products)
        if not self.space.depths:
            yield from next(descents)
            return
        layers, best = np.arange(len(added)), np.inf
        rungs: list[tuple[Genes, int]] = []
        ordered = sorted((rung for descent in descents for rung in descent), key=lambda rung: (rung[1], rung[0]))
        for genes, size in ordered:
            if (loss := added[layers, genes].sum()) < best:
                rungs.append((genes, size))
                best = loss
        yield from reversed(rungs)

    def _descend(self, added: NDArray, product: list[list[int]]) -> Iterator[tuple[Genes, int]]:
        """The rungs within one of the space's products."""
        layers = np.arange(len(added))
        inside = np.zeros(added.shape, bool)
        for index, choices in enumerate(product):
            inside[index, choices] = True
        genes = np.array([choices[-1] for choices in product])
        while True:
            own = self.parameters[layers, genes]
            yield tuple(genes.tolist()), int(own.sum())
            saved = own[:, None] - self.parameters
            allowed = (saved > 0) & inside
            if self.kept[layers, genes].sum() <= self.space.minimum_depth:
                allowed &= self.kept
            if not allowed.any():
                return
            price = np.where(allowed, added - added[layers, genes][:, None], np.inf) / np.where(allowed, saved, 1)
            layer, choice = np.unravel_index(price.argmin(), price.shape)
            genes[layer] = choice

    def near(self, parameters: float, spread: float, generator: np.random.Generator) -> Architecture:
        """The first rung of at most so many parameters (of layers) on a ladder whose sensitivities are disturbed.

        ``spread`` is the standard deviation of their logarithms: 0 gives the ladder's own rung, a large one any order.
        """
        noise = np.exp(spread * generator.standard_normal(self.added.shape))
        descent = self.descend(self.added * noise)
        genes, size = next(descent)
        while size > parameters and (rung := next(descent, None)):
            genes, size = rung
        return self.space.decode(genes)


def ladder(space: SearchSpace, importance: list[dict]) -> list[Architecture]:
    """The rungs of :class:`Ladder`, from the full network down; raises as it does."""
    return [space.decode(genes) for genes, _ in Ladder(space, importance).descend()]


def spread(architectures: list[Architecture], count: int, space: SearchSpace) -> list[Architecture]:
    """At most ``count`` of the architectures, evenly spaced in parameters, in their given order.

    The targets divide the range of sizes into equal parts of which each gets the architecture nearest to its middle.
    """
    sizes = {architecture: space.parameters(architecture) for architecture in architectures}
    if len(sizes) <= count:
        return list(sizes)
    low, high = min(sizes.values()), max(sizes.values())
    chosen: set[Architecture] = set()
    for part in range(count):
        target = high - (part + 0.5) * (high - low) / count
        chosen.add(min(sizes.keys() - chosen, key=lambda a: (abs(sizes[a] - target), a)))
    return [architecture for architecture in sizes if architecture in chosen]
