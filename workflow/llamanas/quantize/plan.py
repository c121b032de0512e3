"""Which way each matrix product of a network is quantized, by recipe and measured sensitivity."""

from collections.abc import Callable

import numpy as np

from llamanas.errors import LlamaNasError
from llamanas.quantize.recipes import part_of

BLOCK = 32  # weights that share a scale, where the recipe does not say it
# Bits of a weight: its own, and a share in its block's scale of 32 and, at 4 bits, in the integer that stands for 0.
SCALE_BITS = {"int8": 8 + 32 / BLOCK, "int4": 4 + (32 + 4) / BLOCK}


def ways_of(recipe: dict, sensitivity: list[dict]) -> Callable[[str], str]:
    """The way of each product; ``sensitivity`` are rows of artifact ``bits``, where the method needs them.

    Raises:
        LlamaNasError: the budget is below what 4 bits for all products take.
    """
    if recipe["method"] == "weight_only":
        chosen = set(recipe["eight_bits"])
        return lambda product: "int8" if recipe["bits"] == 8 or part_of(product) in chosen else "int4"
    if recipe["method"] == "dynamic":
        ways = dict.fromkeys((row["product"] for row in sensitivity), "dynamic")
        ways |= dict.fromkeys(most_sensitive(sensitivity, recipe["float_share"]), "float")
    else:
        ways = allocate(sensitivity, recipe["bits_per_weight"])
    return ways.__getitem__


def most_sensitive(sensitivity: list[dict], share: float) -> list[str]:
    """The products that lose most per weight from dynamic quantization, up to this share of all weights."""
    left, chosen = share * sum(row["weights"] for row in sensitivity), []
    for row in sorted(sensitivity, key=lambda row: (-row["kl_dynamic"] / row["weights"], row["product"])):
        if row["weights"] <= left:
            left -= row["weights"]
            chosen.append(row["product"])
    return chosen


def allocate(sensitivity: list[dict], bits_per_weight: float) -> dict[str, str]:
    """4 or 8 bits for each product, such that the divergences add up to least within a budget of bits.

    That divergences of single products add up is an assumption, as in sensitivity-based mixed precision in general; the
    minimum under it is exact (a knapsack, solved as an integer program).

    Args:
        sensitivity: rows of artifact ``bits``.
        bits_per_weight: budget as the mean over all weights, scales counted.

    Raises:
        LlamaNasError: the budget is below what 4 bits for all products take.
    """
    from scipy.optimize import LinearConstraint, milp

    weights = np.array([row["weights"] for row in sensitivity], float)
    budget, least = bits_per_weight * weights.sum(), SCALE_BITS["int4"] * weights.sum()
    if budget < least:
        raise LlamaNasError(
            f"a budget of {bits_per_weight:g} bits per weight is too small: with their scales all weights take at "
            f"least {SCALE_BITS['int4']:g}. Raise bits_per_weight of the recipe."
        )
    gain = np.array([row["kl_int4"] - row["kl_int8"] for row in sensitivity])
    room = (budget - least) / (SCALE_BITS["int8"] - SCALE_BITS["int4"])
    total = weights.sum()  # in units of which the solver's tolerances are small
    limit = LinearConstraint((weights / total)[None], ub=room / total)
    found = milp(-gain, constraints=limit, integrality=np.ones(len(gain)), bounds=(0, 1))
    return {row["product"]: "int8" if eight > 0.5 else "int4" for row, eight in zip(sensitivity, found.x, strict=True)}
