"""Propose the architectures that a generation of the search measures."""

from collections import deque
from collections.abc import Iterable
from itertools import chain, islice

from llamanas.architecture import Architecture, ModelShape
from llamanas.randomness import generator, seed_for
from llamanas.supernet.ladder import ladder, spread
from llamanas.supernet.limits import Limits
from llamanas.supernet.space import SearchSpace

PATIENCE = 20  # random draws per candidate before the space is searched one by one for what is left

Proposals = Iterable[tuple[str, Architecture]]


def propose(
    space: SearchSpace,
    shape: ModelShape,
    archive: list[dict],
    importance: list[dict],
    settings: dict,
    generation: int,
    seed: int,
    bytes_per_parameter: int,
    published: Iterable[dict] = (),
) -> list[dict]:
    """Rows of artifact ``candidates``: ``population`` architectures never measured before, fewer if no more exist.

    Generation 0 has the full network and, with ``use_importance``, the smallest and rungs of the importance ladder;
    later ones follow ``algorithm``. All but the full network keep ``limits``. What is short is filled with random
    draws, but for algorithm ``ladder``, and ``replay``, which has the full network and what is ``published``. An empty
    list says that the space, or what these have, is exhausted.
    The rows depend on the arguments alone. ``archive`` has every architecture measured so far, ``importance`` the
    sensitivities of the space's choices, and ``settings`` is section ``search`` of the config.

    Raises:
        LlamaNasError: the tables do not belong to the space, the archive is too small for LINAS, or no architecture
            keeps the limits.
    """
    measured = {row["architecture"] for row in archive}
    if len(measured) >= space.size:
        return []
    limits = Limits(space, shape, settings["limits"], bytes_per_parameter)
    seed = seed_for(seed, "propose", generation)
    algorithm = settings["algorithm"]
    proposals: Proposals
    if algorithm == "replay":
        proposals = [("full", space.full), *(("replay", Architecture.from_row(row)) for row in published)]
    elif generation == 0:
        kept = f", of which {limits.count():,} keep search.limits" if limits.active else ""
        print(f"the space holds {space.size:,} sub-networks{kept}")
        proposals = _first(space, importance, settings, limits)
    else:
        proposals = [(algorithm, a) for a in _next(space, archive, importance, settings, seed, limits)]
    fill = () if algorithm in ("ladder", "replay") else _random(space, settings["population"], seed, limits)
    new = _unique(chain(proposals, fill), measured)
    allowed = ((origin, a) for origin, a in new if origin == "full" or limits.allow(a))
    return [
        architecture.row(shape, bytes_per_parameter)
        | {"latency": space.latency(architecture) or None, "generation": generation, "origin": origin}
        for origin, architecture in islice(allowed, settings["population"])
    ]


def _first(space: SearchSpace, importance: list[dict], settings: dict, limits: Limits) -> Proposals:
    """The extremes, and the ladder for half of the rest; importance chooses among equally small networks.

    Algorithm ``ladder`` takes it for all of the rest; without importance there is the full network alone. The full
    network, which all are compared with, need not keep the limits. The middle rung is the first.
    """
    full = ("full", space.full)
    if settings["algorithm"] != "ladder" and not settings["use_importance"]:
        return [full]
    rungs = ladder(space, importance)
    allowed = [architecture for architecture in [*reversed(rungs), space.smallest] if limits.allow(architecture)]
    if not allowed:
        return [full]
    smallest = min(allowed, key=space.parameters)
    if smallest == space.full:
        return [full]
    between = [rung for rung in rungs if rung not in (space.full, smallest) and limits.allow(rung)]
    rest = max(settings["population"] - 2, 0)
    steps = spread(between, rest if settings["algorithm"] == "ladder" else rest // 2, space)
    return _halving([full, *(("ladder", rung) for rung in steps), ("smallest", smallest)])


def _halving(ordered: list[tuple[str, Architecture]]) -> Proposals:
    """The middle one first, then the middle ones of both halves, and so on."""
    parts = deque([ordered])
    while parts:
        part = parts.popleft()
        if part:
            middle = len(part) // 2
            yield part[middle]
            parts += part[:middle], part[middle + 1 :]


def _next(
    space: SearchSpace, archive: list[dict], importance: list[dict], settings: dict, seed: int, limits: Limits
) -> list[Architecture]:
    """What the algorithm wants to measure after generation 0, the best first."""
    if settings["algorithm"] == "ladder":
        measured = {row["architecture"] for row in archive}
        rungs = [rung for rung in ladder(space, importance) if rung.id not in measured and limits.allow(rung)]
        return spread(rungs, settings["population"], space)
    # pymoo and scikit-learn take over a second to import.
    if settings["algorithm"] == "linas":
        from llamanas.search.linas import linas

        return linas(space, archive, importance, settings, seed, limits)
    if settings["algorithm"] == "nsga2":
        from llamanas.search.nsga2 import offspring

        return offspring(space, archive, settings, seed)
    return []


def _random(space: SearchSpace, population: int, seed: int, limits: Limits) -> Proposals:
    draw = generator(seed, "random")
    drawn = (limits.random(draw) for _ in range(PATIENCE * population))
    return (("random", architecture) for architecture in chain(drawn, limits.architectures()))


def _unique(proposals: Proposals, measured: set[str]) -> Proposals:
    known = set(measured)
    for origin, architecture in proposals:
        if architecture.id not in known:
            known.add(architecture.id)
            yield origin, architecture
