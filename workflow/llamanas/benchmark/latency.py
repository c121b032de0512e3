"""Latency of any sub-network as a sum over its parts, measured once on the target; and how far such sums are off."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from llamanas.architecture import Architecture, ModelShape
from llamanas.benchmark.speed import Engine, hardware, measure_speed
from llamanas.randomness import generator
from llamanas.supernet.space import SearchSpace

Load = Callable[[Architecture], Engine]
Parts = list[tuple[str, int]]


def measure_latency(
    space: SearchSpace, shape: ModelShape, load: Load, settings: dict, threads: int, seed: int, device: str
) -> tuple[list[dict], list[dict]]:
    """Rows of artifacts ``latency`` and ``latency_checks``.

    Layers have equal shapes, so that the table needs a row for each kind of part and not for each layer. Its numbers
    are what explains the times of whole networks: those of :func:`probes`, and as many random ones as are checked. Each
    is timed in turn with the full network, in ``repeats`` rounds, and counts by the median ratio of the two. The checks
    are other random networks of the space, timed alike, from which no number was made.

    Args:
        space: whose choices are wanted.
        shape: of the full network.
        load: gives a sub-network in the runtime.
        settings: ``search.latency`` of the config.
        threads: of the runtime.
        seed: of prompts and random networks.
        device: torch device that is measured.
    """
    import torch

    torch.set_num_threads(threads)  # the job began with all cores, which its rule reserves
    full = load(shape.full)
    draws = generator(seed, "networks")
    fitted, checks = ([space.random(draws) for _ in range(settings["networks"])] for _ in range(2))
    fitted = [*probes(space, shape), *fitted]
    ratios, seconds = [], []
    for number, architecture in enumerate([*fitted, *checks]):
        engine = full if architecture == shape.full else load(architecture)
        times = np.array([*_seconds(engine, full, settings, seed + number)])
        ratios.append(float(np.median(times[:, 0] / times[:, 1])))
        seconds += times[:, 1].tolist()
    measured = 1e6 * np.median(seconds) * np.array(ratios)
    parts = parts_of(space)
    about = {"runtime": full.runtime, "hardware": hardware(device), "threads": threads}
    table = [
        {"part": part, "size": size, "microseconds": round(value)} | about
        for (part, size), value in zip(parts, explain(fitted, measured[: len(fitted)], parts), strict=True)
    ]
    timed = space.timed(table)
    return table, [
        architecture.row(shape, 4) | {"latency": timed.latency(architecture), "measured": round(value)}
        for architecture, value in zip(checks, measured[len(fitted) :].tolist(), strict=True)
    ]


def _seconds(engine: Engine, full: Engine, settings: dict, seed: int) -> Iterator[tuple[float, float]]:
    """Of each round, what a prompt and its continuation take in the network and in the full one."""
    sizes = [settings["batch"]], [settings["prompt_tokens"]], settings["new_tokens"], settings["repeats"]
    tokens = settings["batch"] * (settings["new_tokens"] - 1)
    for row in measure_speed(engine, full, *sizes, seed, bandwidth=1.0):
        own, other = (
            row[f"{prefix}time_to_first_token_s"] + tokens / row[f"{prefix}decode_tokens_per_s"]
            for prefix in ("", "full_")
        )
        yield own, other


def parts_of(space: SearchSpace) -> Parts:
    """What a network consists of: what all have, attentions of each number of key-value heads, and MLPs of each width.

    The two kinds have a row of size 0, which takes no time.
    """
    heads = sorted({0, *(choice.kv_heads for choices in space.choices for choice in choices)})
    widths = sorted({0, *(choice.intermediate_size for choices in space.choices for choice in choices)})
    return [("fixed", 0), *(("attention", number) for number in heads), *(("mlp", width) for width in widths)]


def probes(space: SearchSpace, shape: ModelShape) -> list[Architecture]:
    """Networks whose times determine those of the parts; some need not be in the space.

    They are the full and the smallest, one for each other width and number of heads, one without attentions, and one of
    half the layers.
    """
    layers, full, heads = shape.layers, shape.intermediate_size, shape.kv_heads
    parts = parts_of(space)
    widths = [size for part, size in parts if part == "mlp" and 0 < size < full]
    numbers = [size for part, size in parts if part == "attention" and 0 < size < heads]
    half = [layer < (layers + 1) // 2 for layer in range(layers)]
    return [
        shape.full,
        space.smallest,
        *(Architecture((heads,) * layers, (width,) * layers) for width in widths),
        *(Architecture((number,) * layers, (full,) * layers) for number in numbers),
        Architecture((heads,) + (0,) * (layers - 1), (full,) * layers),
        Architecture(tuple(heads * kept for kept in half), tuple(full * kept for kept in half)),
    ]


def explain(architectures: list[Architecture], times: NDArray, parts: Parts) -> list[float]:
    """The times of the parts, none below zero, whose sums are nearest to those of the architectures, relatively."""
    counts = np.array([[_count(architecture, *part) for part in parts] for architecture in architectures], dtype=float)
    found: list[float] = nnls(counts / times[:, None], np.ones(len(times)))[0].tolist()
    return found


def _count(architecture: Architecture, part: str, size: int) -> int:
    if part == "fixed":
        return 1
    sizes = architecture.kv_heads if part == "attention" else architecture.intermediate_sizes
    return sizes.count(size) if size else 0  # what is not there takes no time


def sum_error(checks: list[dict]) -> float:
    """Median relative difference between the sums and the measured latencies of artifact ``latency_checks``."""
    return float(np.median([abs(row["latency"] / row["measured"] - 1) for row in checks]))
