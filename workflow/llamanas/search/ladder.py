"""The importance ladder: the full network reduced step by step where it costs least, by measured sensitivities."""

from llamanas.architecture import Architecture
from llamanas.errors import LlamaNasError
from llamanas.supernet.space import SearchSpace


def sensitivities(space: SearchSpace, importance: list[dict]) -> list[list[tuple[float, float]]]:
    """Per layer and choice: divergence (nats) caused by its missing attention, and by its narrowed MLP.

    ``importance`` has rows of kind ``attention`` (index 0) and ``mlp`` (index: remaining width); others are ignored.

    Raises:
        LlamaNasError: the sensitivity of a choice of the space was not measured.
    """
    scores = {(row["layer"], row["kind"], row["index"]): row["score"] for row in importance if row["kind"] != "channel"}

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
                0.0 if choice.attention else score(layer, "attention", 0),
                0.0 if choice.intermediate_size == choices[-1].intermediate_size
                else score(layer, "mlp", choice.intermediate_size),
            )
            for choice in choices
        ]
        for layer, choices in enumerate(space.choices)
    ]  # fmt: skip


def ladder(space: SearchSpace, importance: list[dict]) -> list[Architecture]:
    """Architectures from the full network down to the smallest that single reductions reach.

    Each step takes the reduction of one layer that adds the least sensitivity per parameter saved, keeping the minimum
    depth; sensitivities of several reductions are taken to add up.

    Raises:
        LlamaNasError: the sensitivity of a choice of the space was not measured.
    """
    added = [[sum(parts) for parts in choices] for choices in sensitivities(space, importance)]
    genes = list(space.encode(space.full))
    rungs = [space.full]
    while steps := _reductions(space, genes, added):
        _, layer, choice = min(steps)
        genes[layer] = choice
        rungs.append(space.decode(genes))
    return rungs


def _reductions(space: SearchSpace, genes: list[int], added: list[list[float]]) -> list[tuple[float, int, int]]:
    """Sensitivity added per parameter saved, layer and choice of every admissible reduction of one layer."""
    spare_layers = space.decode(genes).depth - space.minimum_depth
    steps = []
    for layer, (choices, gene) in enumerate(zip(space.choices, genes, strict=True)):
        for choice in range(gene):
            saved = choices[gene].parameters - choices[choice].parameters
            if saved > 0 and (spare_layers > 0 or choices[choice].kept):
                steps.append(((added[layer][choice] - added[layer][gene]) / saved, layer, choice))
    return steps


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
