"""Speed of a network in one runtime, timed in turn with the full network in the same runtime and precision."""

from collections.abc import Iterator
from time import perf_counter
from typing import NamedTuple, Protocol

import numpy as np

from llamanas.devices import processor
from llamanas.progress import progress


class Engine(Protocol):
    """A network loaded into a runtime.

    ``bytes_per_step`` are the weights that a decoding step reads, whatever the batch; ``cache_bytes_per_token`` what a
    token of context adds to them for each row of the batch.
    """

    runtime: str
    vocabulary_size: int
    cache_bytes_per_token: int

    @property
    def bytes_per_step(self) -> int: ...

    def prepare(self, batch: int, prompt_tokens: int, new_tokens: int) -> None:
        """Get ready for prompts of this size."""

    def prefill(self, prompt: np.ndarray) -> None:
        """Run a prompt [batch, tokens] and choose the token after it."""

    def decode(self, steps: int) -> None:
        """Append the likeliest token so many times."""


class Timing(NamedTuple):
    """Of prompts and their continuations: tokens per second, and seconds until the first new token."""

    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    time_to_first_token_s: float


def measure_speed(
    pick: Engine,
    full: Engine,
    batches: list[int],
    contexts: list[int],
    new_tokens: int,
    repeats: int,
    seed: int,
    bandwidth: float,
) -> Iterator[dict]:
    """The timed columns of artifact ``speed``, a row per batch size, context and repeat.

    In each repeat both networks take the same random prompts, so that a change of the machine's speed falls on both.
    The order is always the same: each network runs after the other, whose weights have displaced its own from the
    caches. A first run of each is not counted.

    Args:
        pick: the network.
        full: the full network.
        batches: prompts run at once.
        contexts: tokens of a prompt.
        new_tokens: tokens generated after it, at least 2.
        repeats: timed rounds.
        seed: of the prompts.
        bandwidth: bytes per second that the memory of the device gives.
    """
    draw = np.random.default_rng(seed)
    for batch, context in ((batch, context) for context in contexts for batch in batches):
        engines = {"": pick, "full_": full}
        prompts = draw.integers(pick.vocabulary_size, size=(repeats + 1, batch, context))
        for engine in engines.values():
            engine.prepare(batch, context, new_tokens)
            time_once(engine, prompts[-1], new_tokens)
        needed = pick.bytes_per_step + batch * pick.cache_bytes_per_token * (context + new_tokens / 2)
        for repeat in progress(range(repeats), f"time {context} tokens, batch {batch}", unit="round"):
            row: dict = {"runtime": pick.runtime, "batch": batch, "prompt_tokens": context, "new_tokens": new_tokens}
            row["repeat"] = repeat
            for prefix, engine in engines.items():
                timing = time_once(engine, prompts[repeat], new_tokens)
                row |= {f"{prefix}{name}": value for name, value in timing._asdict().items()}
            yield row | {"share_of_bandwidth": row["decode_tokens_per_s"] / batch * needed / bandwidth}


def speed_rows(pick: Engine, full: Engine, settings: dict, threads: int, seed: int, device: str) -> Iterator[dict]:
    """Columns of artifact ``speed`` but for the pick's name and files; ``settings`` as section ``benchmark``."""
    import torch

    torch.set_num_threads(threads)  # the job began with all cores, which its rule reserves
    about = {"hardware": hardware(device), "threads": threads}
    sizes = {name: settings[name] for name in ("batches", "contexts", "new_tokens", "repeats")}
    for row in measure_speed(pick, full, seed=seed, bandwidth=memory_bandwidth(device), **sizes):
        yield row | about


def time_once(engine: Engine, prompt: np.ndarray, new_tokens: int) -> Timing:
    """Time prompts [batch, tokens] and ``new_tokens`` tokens after each, the first of which comes with the prompt."""
    batch, length = prompt.shape
    start = perf_counter()
    engine.prefill(prompt)
    first = perf_counter()
    engine.decode(new_tokens - 1)
    end = perf_counter()
    return Timing(batch * length / (first - start), batch * (new_tokens - 1) / (end - first), first - start)


def memory_bandwidth(device: str) -> float:
    """Bytes per second at which the device sums an array larger than most caches; a CPU with torch's number of threads.

    A limit of decoding, which reads all weights for every token.
    """
    import torch

    array = torch.ones(2**30 if device != "cpu" else 2**27, device=device)
    seconds = []
    for _ in range(5):
        start = perf_counter()
        array.sum().item()
        seconds.append(perf_counter() - start)
    return array.nbytes / min(seconds)


def hardware(device: str) -> str:
    """Name of the processor or GPU that a torch device is on."""
    import torch

    return processor() if device == "cpu" else torch.cuda.get_device_name(device)
