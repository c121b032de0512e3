"""LINAS: NSGA-II asks a predictor about many architectures, and the best that are not measured yet come next."""

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.repair import Repair
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.operators.survival.rank_and_crowding import RankAndCrowding
from pymoo.optimize import minimize

from llamanas.architecture import Architecture
from llamanas.randomness import generator, seed_for
from llamanas.search.predictor import Features, Predictor, choice_table, fit_predictor
from llamanas.supernet.space import Genes, SearchSpace

POPULATION = 50  # of NSGA-II, as published; it asks the predictor, so it need not be the number measured
CROSSOVER = 0.9
MUTATION = 0.02  # per gene, at least


class _Predicted(Problem):
    """Minimize (minus the predicted score, the exact cost) over genes; remembers everything it was asked about."""

    def __init__(self, predictor: Predictor, cost: NDArray, highest: list[int]) -> None:
        super().__init__(n_var=len(highest), n_obj=2, xl=0, xu=np.array(highest), vtype=int)
        self.predictor, self.cost = predictor, cost
        self.seen: dict[Genes, NDArray] = {}

    def _evaluate(self, x: NDArray, out: dict, *args: object, **kwargs: object) -> None:
        cost = self.cost[np.arange(x.shape[1]), x].sum(axis=1)
        out["F"] = np.column_stack([-self.predictor(x), cost])
        self.seen.update(zip(map(tuple, x.tolist()), out["F"], strict=True))


class _OtherChoice(Mutation):
    """Each gene takes, with the given probability, another of its layer's choices; small steps would round to none."""

    def __init__(self, random: np.random.Generator, probability: float) -> None:
        super().__init__(prob=1.0)
        self.random, self.probability = random, probability

    def _do(self, problem: Problem, x: NDArray, *args: object, **kwargs: object) -> NDArray:
        choices = problem.xu.astype(int) + 1
        shift = self.random.integers(1, np.maximum(choices, 2), x.shape)
        return np.where(self.random.random(x.shape) < self.probability, (x + shift) % choices, x)


class _MinimumDepth(Repair):
    """Bring layers back where too few are kept."""

    def __init__(self, space: SearchSpace, random: np.random.Generator) -> None:
        super().__init__()
        self.space, self.random = space, random

    def _do(self, problem: Problem, x: NDArray, **kwargs: object) -> NDArray:
        return np.array([self.space.repair(genes, self.random) for genes in x.astype(int)])


def linas(
    space: SearchSpace, archive: list[dict], importance: list[dict], settings: dict, seed: int
) -> list[Architecture]:
    """At most ``population`` architectures that are not in the archive, the best by prediction.

    Sarah et al., arXiv 2205.10358. NSGA-II starts from the archive and random architectures; of everything it asked
    about, non-dominated sorting and crowding keep the next population.

    Args:
        space: what may be proposed.
        archive: measured architectures, at least two.
        importance: sensitivities of the space's choices.
        settings: section ``search`` of the config; NSGA-II completes the population that reaches
            ``predictor_evaluations``.
        seed: root of every random draw.

    Raises:
        LlamaNasError: the archive is too small to fit a predictor on, or does not belong to the space.
    """
    unit = "parameters" if settings["objective"] == "bytes" else settings["objective"]  # bytes: a constant times them
    cost = choice_table([getattr(choice, unit) for choice in choices] for choices in space.choices)
    measured = [space.encode(Architecture.from_row(row)) for row in archive]
    scores = np.array([row[settings["score"]] for row in archive])
    features = Features(space, importance, cost)
    predictor = fit_predictor(features, np.array(measured).reshape(-1, len(cost)), scores, seed_for(seed, "folds"))
    problem = _Predicted(predictor, cost, [len(choices) - 1 for choices in space.choices])
    _evolve(problem, space, measured, settings, seed)
    return [space.decode(genes) for genes in _best_new(problem, measured, settings["population"], seed)]


def _evolve(problem: _Predicted, space: SearchSpace, measured: list[Genes], settings: dict, seed: int) -> None:
    random = generator(seed, "operators")
    size = min(max(POPULATION, settings["population"]), settings["predictor_evaluations"])
    drawn = [space.encode(space.random(random)) for _ in range(size - len(measured))]
    algorithm = NSGA2(
        pop_size=size,
        sampling=np.array([*measured, *drawn]),
        crossover=UniformCrossover(prob=CROSSOVER),
        mutation=_OtherChoice(random, max(MUTATION, 1 / problem.n_var)),
        repair=_MinimumDepth(space, random),
    )
    budget = ("n_eval", settings["predictor_evaluations"])
    minimize(problem, algorithm, budget, seed=seed_for(seed, "evolution") % 2**32)


def _best_new(problem: _Predicted, measured: list[Genes], count: int, seed: int) -> list[Genes]:
    new = {genes: values for genes, values in problem.seen.items() if genes not in set(measured)}
    population = Population.new("X", list(new), "F", list(new.values()))
    survival = RankAndCrowding(crowding_func="pcd")  # removes the most crowded one at a time, so no gaps arise
    best = survival.do(problem, population, n_survive=count, random_state=generator(seed, "survival"))
    return [tuple(individual.X) for individual in best]
