"""Which networks a training step passes the batch through, and what each learns from, by the name of a strategy."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from llamanas.architecture import Architecture, ModelShape
from llamanas.randomness import generator
from llamanas.supernet.ladder import Ladder
from llamanas.supernet.space import SearchSpace


class Pass(NamedTuple):
    """One pass of a step: a network, and the weights of the answers and of the teacher in its loss."""

    architecture: Architecture
    answer_weight: float
    teacher_weight: float


Plan = Callable[[int], list[Pass]]  # the passes of each step


class Sampler:
    """Draws sub-networks whose size is uniform between the full network and ``smallest_share`` of its parameters.

    With a ladder they are its rungs under disturbed sensitivities (:meth:`Ladder.near`), else random architectures.
    """

    def __init__(self, space: SearchSpace, shape: ModelShape, settings: dict, ladder: Ladder | None) -> None:
        self.space, self.ladder, self.spread = space, ladder, settings["spread"]
        self.full = space.parameters(space.full)
        wanted = settings["smallest_share"] * (self.full + shape.fixed_parameters) - shape.fixed_parameters
        self.least = max(wanted, space.parameters(space.smallest))

    def draw(self, draws: np.random.Generator, low: float = 0.0, high: float = 1.0) -> Architecture:
        """A sub-network between these places of the range of sizes, 0 being the full network."""
        parameters = self.full - draws.uniform(low, high) * (self.full - self.least)
        if self.ladder:
            return self.ladder.near(parameters, self.spread, draws)
        return self.space.random(draws, parameters)


def full_network(shape: ModelShape) -> Plan:
    """Fine-tuning of the full network on the answers."""
    return lambda step: [Pass(shape.full, 1.0, 0.0)]


def one_network(architecture: Architecture, answer_weight: float) -> Plan:
    """Training of one sub-network alone, on the answers and a teacher."""
    return lambda step: [Pass(architecture, answer_weight, 1 - answer_weight)]


def super_network(settings: dict, sampler: Sampler, seed: int) -> Plan:
    """The passes of strategy ``settings["strategy"]``.

    * ``alternate``: the full network and a sub-network in turn, on the answers (LLaMA-NAS, arXiv 2405.18377).
    * ``instatune``: both in each step, the sub-network on the answers and the teacher (arXiv 2308.15609).
    * ``sandwich``: the full network, the smallest and ``subnets`` others in each step (arXiv 1903.05134).
    * ``stratified``: the full network and ``subnets`` others, one from each of as many equal parts of the sizes.

    The full network learns from the answers alone where it is itself the teacher (``in_place``).
    """
    alpha, count = settings["answer_weight"], settings["subnets"]
    full = sampler.space.full
    leader = Pass(full, 1.0, 0.0) if settings["teacher"] == "in_place" else Pass(full, alpha, 1 - alpha)

    def taught(architecture: Architecture) -> Pass:
        return Pass(architecture, alpha, 1 - alpha)

    def alternate(step: int, draws: np.random.Generator) -> list[Pass]:
        return [Pass(full if step % 2 == 0 else sampler.draw(draws), 1.0, 0.0)]

    def instatune(step: int, draws: np.random.Generator) -> list[Pass]:
        return [leader, taught(sampler.draw(draws))]

    def sandwich(step: int, draws: np.random.Generator) -> list[Pass]:
        return [leader, taught(sampler.draw(draws, 1.0)), *(taught(sampler.draw(draws)) for _ in range(count))]

    def stratified(step: int, draws: np.random.Generator) -> list[Pass]:
        parts = ((part / count, (part + 1) / count) for part in range(count))
        return [leader, *(taught(sampler.draw(draws, *part)) for part in parts)]

    chosen = {"alternate": alternate, "instatune": instatune, "sandwich": sandwich, "stratified": stratified}
    passes = chosen[settings["strategy"]]
    return lambda step: passes(step, generator(seed, "subnets", step))
