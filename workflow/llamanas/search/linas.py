"""LINAS: NSGA-II asks a predictor about many architectures, and the best that are not measured yet come next."""

import numpy as np
from numpy.typing import NDArray
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.operators.survival.rank_and_crowding import RankAndCrowding
from pymoo.optimize import minimize

from llamanas.architecture import Architecture
from llamanas.randomness import generator, seed_for
from llamanas.search.nsga2 import costs, evolution
from llamanas.search.predictor import Features, Predictor, fit_predictor
from llamanas.select.front import find_front, objectives
from llamanas.supernet.limits import Limits
from llamanas.supernet.space import Genes, SearchSpace

ROWS = 1000  # measured architectures that are learnt from; a Gaussian process takes the cube of them in time
POPULATION = 50  # of NSGA-II, as published; it asks the predictor, so it need not be the number measured


class _Predicted(Problem):
    """Minimize (minus the predicted score, the exact costs) over genes that keep the limits.

    Remembers everything it was asked about that keeps them.
    """

    def __init__(self, predictor: Predictor, costs: list[NDArray], highest: list[int], limits: Limits) -> None:
        bounds = 2 * len(limits.bounds) * limits.active
        sizes = {"n_var": len(highest), "n_obj": 1 + len(costs), "n_ieq_constr": bounds}
        super().__init__(**sizes, xl=0, xu=np.array(highest), vtype=int)
        self.predictor, self.costs, self.limits = predictor, costs, limits
        self.seen: dict[Genes, NDArray] = {}

    def _evaluate(self, x: NDArray, out: dict, *args: object, **kwargs: object) -> None:
        sums = [cost[np.arange(x.shape[1]), x].sum(axis=1) for cost in self.costs]
        out["F"] = np.column_stack([-self.predictor(x), *sums])
        allowed = np.ones(len(x), bool)
        if self.limits.active:
            out["G"] = self.limits.violation(x)
            allowed = (out["G"] <= 0).all(axis=1)
        self.seen.update(zip(map(tuple, x[allowed].tolist()), out["F"][allowed], strict=True))


def linas(
    space: SearchSpace, archive: list[dict], importance: list[dict], settings: dict, seed: int, limits: Limits
) -> list[Architecture]:
    """At most ``population`` architectures that are not in the archive, the best by prediction.

    Sarah et al., arXiv 2205.10358. NSGA-II starts from the archive and random architectures; of everything it asked
    about, non-dominated sorting and crowding keep the next population. Of a large archive its front and a part drawn at
    random are learnt and started from.

    Args:
        space: what may be proposed.
        archive: measured architectures, at least two.
        importance: sensitivities of the space's choices.
        settings: section ``search`` of the config; NSGA-II completes the population that reaches
            ``predictor_evaluations``.
        seed: root of every random draw.
        limits: what is proposed keeps them.

    Raises:
        LlamaNasError: the archive is too small to fit a predictor on, or does not belong to the space.
    """
    tables = [costs(space, objective) for objective in objectives(settings)]
    learnt = thinned(archive, settings["score"], objectives(settings), seed)
    start = [space.encode(Architecture.from_row(row)) for row in learnt]
    scores = np.array([row[settings["score"]] for row in learnt])
    features = Features(space, importance if settings["use_importance"] else None, tables[0])
    predictor = fit_predictor(
        features, np.array(start).reshape(-1, len(space.choices)), scores, seed_for(seed, "folds")
    )
    problem = _Predicted(predictor, tables, [len(choices) - 1 for choices in space.choices], limits)
    _evolve(problem, space, start, settings, seed)
    measured = start if learnt is archive else [space.encode(Architecture.from_row(row)) for row in archive]
    return [space.decode(genes) for genes in _best_new(problem, measured, settings["population"], seed)]


def thinned(archive: list[dict], score: str, columns: list[str], seed: int) -> list[dict]:
    """The archive in its order; of one larger than ROWS so many: those that no other dominates, the rest at random.

    Dominated is what another beats in ``score`` and in each of the ``columns`` of costs.
    """
    if len(archive) <= ROWS:
        return archive
    best = {row["architecture"] for row in find_front(archive, score, *columns)}
    front = [index for index, row in enumerate(archive) if row["architecture"] in best]
    rest = np.setdiff1d(np.arange(len(archive)), front)
    drawn = generator(seed, "learnt").choice(rest, max(ROWS - len(front), 0), replace=False)
    return [archive[index] for index in sorted([*front, *drawn.tolist()])]


def _evolve(problem: _Predicted, space: SearchSpace, measured: list[Genes], settings: dict, seed: int) -> None:
    size = min(max(POPULATION, settings["population"]), settings["predictor_evaluations"])
    random = generator(seed, "start")
    drawn = [space.encode(problem.limits.random(random)) for _ in range(size - len(measured))]
    algorithm = evolution(space, size, np.array([*measured, *drawn]), seed)
    budget = ("n_eval", settings["predictor_evaluations"])
    minimize(problem, algorithm, budget, seed=seed_for(seed, "evolution") % 2**32)


def _best_new(problem: _Predicted, measured: list[Genes], count: int, seed: int) -> list[Genes]:
    known = set(measured)
    new = {genes: values for genes, values in problem.seen.items() if genes not in known}
    if not new:
        return []
    population = Population.new("X", list(new), "F", list(new.values()))
    survival = RankAndCrowding(crowding_func="pcd")  # removes the most crowded one at a time, so no gaps arise
    feasible = Problem(n_var=problem.n_var, n_obj=problem.n_obj, xl=problem.xl, xu=problem.xu, vtype=int)
    best = survival.do(feasible, population, n_survive=count, random_state=generator(seed, "survival"))
    return [tuple(individual.X) for individual in best]
