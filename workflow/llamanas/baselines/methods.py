"""Pruning methods by name: each makes one network of a wanted size from a full one."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from llamanas.architecture import Architecture, ModelShape
from llamanas.baselines.criteria import block_influences, taylor_rows
from llamanas.baselines.program import least_sensitive
from llamanas.data.packing import Answers
from llamanas.errors import LlamaNasError
from llamanas.models.decoder import Decoder
from llamanas.randomness import generator
from llamanas.supernet.order import Orders, full_bands, unit_orders
from llamanas.supernet.space import SearchSpace

WIDTH_STEP = 32  # as the widths of the space
DRAWS = 64  # random architectures, of which the largest that fits is taken


class Wish(NamedTuple):
    """What a method is given: the full network, what is known of it, and the most parameters of the whole network."""

    decoder: Decoder
    batch: Answers
    space: SearchSpace
    importance: list[dict]
    parameters: int
    seed: int

    @property
    def shape(self) -> ModelShape:
        return self.decoder.shape

    @property
    def measured_orders(self) -> Orders:
        """Channels, and heads where networks lack some, by Wanda's criterion, as the importance table has it."""
        return unit_orders(self.importance, full_bands(self.shape))


Proposal = tuple[list[Architecture], Orders]  # the networks that a method would make, and how it orders units


def prune(
    method: str,
    decoder: Decoder,
    batch: Answers,
    space: SearchSpace,
    importance: list[dict],
    parameters: int,
    seed: int,
) -> tuple[Architecture, Orders]:
    """The largest network of at most so many parameters that the method makes, and the units' order it asks for.

    ``decoder`` is the full network, ``batch`` calibration examples, and ``importance`` has the rows measured on it. The
    orders are those of :func:`llamanas.supernet.order.order_units`; methods that narrow nothing give none.

    Raises:
        LlamaNasError: the method is unknown, or makes no network so small.
    """
    if method not in METHODS:
        raise LlamaNasError(f"there is no pruning method {method!r}; there are {', '.join(METHODS)}.")
    shape = decoder.shape
    proposed, orders = METHODS[method](Wish(decoder, batch, space, importance, parameters, seed))
    sizes = {architecture: architecture.parameters(shape) for architecture in proposed}
    fitting = [architecture for architecture in sizes if sizes[architecture] <= parameters]
    if not fitting:
        raise LlamaNasError(
            f"the method {method} cannot make a network of {parameters:,} parameters; its smallest has "
            f"{min(sizes.values()):,}. Ask for a smaller ratio in baselines.ratios."
        )
    return max(fitting, key=sizes.__getitem__), orders


def _uniform_width(wish: Wish) -> Proposal:
    """The same MLP width in every layer, of the channels with the highest Wanda scores (arXiv 2306.11695)."""
    return _same_widths(wish.shape), wish.measured_orders


def _first_layers(wish: Wish) -> Proposal:
    """The first layers, whole."""
    return [_of_layers(wish.shape, range(count)) for count in range(1, wish.shape.layers + 1)], {}


def _block_influence(wish: Wish) -> Proposal:
    """ShortGPT (arXiv 2403.03853): the layers of least influence go, whole."""
    influences = block_influences(wish.decoder, wish.batch)
    order = sorted(range(wish.shape.layers), key=lambda layer: (influences[layer], layer))
    return [_of_layers(wish.shape, order[dropped:]) for dropped in range(wish.shape.layers)], {}


def _taylor(wish: Wish) -> Proposal:
    """LLM-Pruner's first-order criterion (arXiv 2305.11627), ported for MLP channels alone: attention heads stay.

    Every layer keeps as many channels, as LLM-Pruner does; unlike there, the first and last layers are pruned as well.
    """
    orders = unit_orders(taylor_rows(wish.decoder, wish.batch), full_bands(wish.shape))
    return _same_widths(wish.shape), orders


def _random(wish: Wish) -> Proposal:
    """Random architectures of the space; the draws end a little above what they aim at, so they aim below the wish."""
    draws = generator(wish.seed, "random", wish.parameters)
    wanted = wish.parameters - wish.shape.fixed_parameters
    layer = max(choice.parameters for choices in wish.space.choices for choice in choices)
    drawn = [wish.space.random(draws, wanted - draws.uniform(0, layer)) for _ in range(DRAWS)]
    return [*drawn, wish.space.smallest], wish.measured_orders


def _integer_program(wish: Wish) -> Proposal:
    """Puzzle (arXiv 2411.19146): the least sum of measured sensitivities under the limit."""
    smallest = wish.space.smallest
    if smallest.parameters(wish.shape) > wish.parameters:
        return [smallest], {}
    wanted = wish.parameters - wish.shape.fixed_parameters
    return [least_sensitive(wish.space, wish.importance, wanted)], wish.measured_orders


METHODS: dict[str, Callable[[Wish], Proposal]] = {
    "uniform_width": _uniform_width,
    "first_layers": _first_layers,
    "block_influence": _block_influence,
    "taylor": _taylor,
    "random": _random,
    "integer_program": _integer_program,
}


def _same_widths(shape: ModelShape) -> list[Architecture]:
    """All networks whose layers keep their attention and have the same MLP width, a multiple of WIDTH_STEP."""
    widths = range(WIDTH_STEP, shape.intermediate_size + 1, WIDTH_STEP)
    return [Architecture(shape.full.kv_heads, (width,) * shape.layers) for width in widths]


def _of_layers(shape: ModelShape, kept: Iterable[int]) -> Architecture:
    """The network of these layers, whole."""
    layers = set(kept)
    stays = [layer in layers for layer in range(shape.layers)]
    return Architecture(*(tuple(size * stay for stay in stays) for size in (shape.kv_heads, shape.intermediate_size)))
