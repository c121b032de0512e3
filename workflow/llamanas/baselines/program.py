"""Puzzle's search: the choices of all layers at once, by an integer program on the measured sensitivities."""

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from llamanas.architecture import Architecture
from llamanas.errors import LlamaNasError
from llamanas.supernet.ladder import Ladder
from llamanas.supernet.space import SearchSpace


def least_sensitive(space: SearchSpace, importance: list[dict], parameters: int) -> Architecture:
    """The architecture of at most so many parameters in its layers whose sensitivities have the least sum, in nats.

    The mixed-integer program of Puzzle (arXiv 2411.19146), solved exactly: one choice in each layer, the limit, and the
    space's minimum depth. Sensitivities of several layers are taken to add up, as in :class:`Ladder`.

    Raises:
        LlamaNasError: the space has no architecture so small, or a sensitivity was not measured.
    """
    added = Ladder(space, importance).added
    places = [(layer, gene) for layer, choices in enumerate(space.choices) for gene in range(len(choices))]
    layers, genes = np.array(places).T
    choices = [space.choices[layer][gene] for layer, gene in places]
    sizes = np.array([choice.parameters for choice in choices])
    unit = np.gcd.reduce(sizes)  # small whole numbers, which the solver's tolerance cannot blur
    costs = added[layers, genes]
    solutions = [
        milp(
            costs / (costs.mean() or 1.0),  # or its absolute tolerance would take small sensitivities for equal
            integrality=np.ones(len(places)),
            bounds=Bounds(0, [float(gene in product[layer]) for layer, gene in places]),
            constraints=[
                LinearConstraint((np.arange(len(space.choices))[:, None] == layers).astype(float), 1, 1),
                LinearConstraint(sizes // unit, ub=parameters // unit),
                LinearConstraint([float(choice.kept) for choice in choices], lb=space.minimum_depth),
            ],
            options={"mip_rel_gap": 0},
        )
        for product in space.products
    ]
    solved = [solution for solution in solutions if solution.x is not None]
    if not solved:
        message = solutions[0].message
        raise LlamaNasError(f"no architecture has at most {parameters:,} parameters in its layers: {message}")
    return space.decode(genes[min(solved, key=lambda solution: solution.fun).x > 0.5].tolist())
