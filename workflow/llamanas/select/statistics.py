"""Statistics of accuracies and fronts: confidence intervals and the hypervolume."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from llamanas.errors import LlamaNasError


def wilson_interval(successes: float, n: int, confidence: float) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927), which holds near 0 and 1 and for few items as well.

    Of items that earn a share of a success it is wider than need be, since none vary more than those of 0 and 1.

    Raises:
        LlamaNasError: there are no items.
    """
    if n == 0:
        raise LlamaNasError("an accuracy needs at least one answered item, but there is none. Check the task's data.")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    center = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return max(center - half, 0.0), min(center + half, 1.0)


def paired_difference(
    credit: Sequence[float],
    reference: Sequence[float],
    confidence: float,
    resamples: int,
    generator: np.random.Generator,
) -> tuple[float, float, float]:
    """Accuracy minus the reference's on the same items, with its paired percentile bootstrap interval (low, high).

    Drawing n items with replacement is one multinomial draw of how often each difference occurs: of right and wrong
    answers there are but three, -1, 0 and 1.

    Raises:
        LlamaNasError: the two do not have the same number of items, or have none.
    """
    if len(credit) != len(reference) or not len(credit):
        raise LlamaNasError(
            f"a paired difference needs the same items on both sides, but there are {len(credit)} and {len(reference)}"
        )
    differences = np.subtract(credit, reference, dtype=float)
    n = len(differences)
    values, counts = np.unique(differences, return_counts=True)
    drawn = generator.multinomial(n, counts / n, size=resamples)
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn @ values / n, [tail, 1 - tail])
    return float(differences.mean()), float(low), float(high)


def hypervolume(costs: Sequence[float], scores: Sequence[float], reference: tuple[float, float]) -> float:
    """Area that the points (cost to minimize, score to maximize) dominate, up to the reference point.

    The reference is (highest cost, lowest score) that count, usually (1.0, a score every run stays above) with costs as
    shares of the full network's; hypervolumes compare only for one reference. Points beyond it add nothing.
    """
    from pymoo.indicators.hv import HV  # only comparisons of searches need it

    if not len(costs):
        return 0.0
    points = np.column_stack([costs, np.negative(scores)])
    return float(HV(ref_point=np.array([reference[0], -reference[1]]))(points))
