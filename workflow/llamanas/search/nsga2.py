"""NSGA-II on genes: its operators, and the offspring of what was measured, without a predictor."""

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.repair import Repair
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

from llamanas.architecture import Architecture
from llamanas.randomness import generator, seed_for
from llamanas.select.front import objectives
from llamanas.supernet.space import SearchSpace, choice_table

CROSSOVER = 0.9
MUTATION = 0.02  # per gene, at least
BROODS = 8  # populations of offspring that are bred at most, since many are measured already


class OtherChoice(Mutation):
    """Each gene takes, with the given probability, another of its layer's choices; small steps would round to none."""

    def __init__(self, random: np.random.Generator, probability: float) -> None:
        super().__init__(prob=1.0)
        self.random, self.probability = random, probability

    def _do(self, problem: Problem, x: NDArray, *args: object, **kwargs: object) -> NDArray:
        choices = problem.xu.astype(int) + 1
        shift = self.random.integers(1, np.maximum(choices, 2), x.shape)
        return np.where(self.random.random(x.shape) < self.probability, (x + shift) % choices, x)


class MinimumDepth(Repair):
    """Bring layers back where too few are kept."""

    def __init__(self, space: SearchSpace, random: np.random.Generator) -> None:
        super().__init__()
        self.space, self.random = space, random

    def _do(self, problem: Problem, x: NDArray, **kwargs: object) -> NDArray:
        return np.array([self.space.repair(genes, self.random) for genes in x.astype(int)])


def evolution(space: SearchSpace, size: int, sampling: NDArray, seed: int) -> NSGA2:
    """NSGA-II (Deb et al. 2002) with the published rates, from these genes [n, layers]."""
    random = generator(seed, "operators")
    return NSGA2(
        pop_size=size,
        sampling=sampling,
        crossover=UniformCrossover(prob=CROSSOVER),
        mutation=OtherChoice(random, max(MUTATION, 1 / len(space.choices))),
        repair=MinimumDepth(space, random),
    )


def costs(space: SearchSpace, objective: str) -> NDArray:
    """Array [layers, most choices of a layer] of what each choice adds to the objective, up to a constant factor."""
    unit = "parameters" if objective == "bytes" else objective  # bytes: a constant times them
    return choice_table([getattr(choice, unit) for choice in choices] for choices in space.choices)


def offspring(space: SearchSpace, archive: list[dict], settings: dict, seed: int) -> list[Architecture]:
    """Architectures bred from the best ``population`` of the archive, in the order they were bred.

    The survivors of all that was measured are NSGA-II's parents, so that a search goes on from its archive alone.
    ``settings`` is section ``search`` of the config.

    Raises:
        LlamaNasError: the archive does not belong to the space.
    """
    genes = np.array([space.encode(Architecture.from_row(row)) for row in archive])
    values = np.array([[-row[settings["score"]], *(row[cost] for cost in objectives(settings))] for row in archive])
    highest = np.array([len(choices) - 1 for choices in space.choices])
    problem = Problem(n_var=len(highest), n_obj=values.shape[1], xl=0, xu=highest, vtype=int)
    algorithm = evolution(space, settings["population"], genes, seed)
    algorithm.setup(problem, seed=seed_for(seed, "evolution") % 2**32)
    measured = Population.new("X", genes, "F", values)
    draw = generator(seed, "survival")
    parents = RankAndCrowding().do(problem, measured, n_survive=settings["population"], random_state=draw)
    bred = []
    for _ in range(BROODS):
        brood = algorithm.mating.do(
            problem, parents, settings["population"], algorithm=algorithm, random_state=algorithm.random_state
        )
        bred += [space.decode(genes) for genes in brood.get("X").astype(int).tolist()]
    return bred
