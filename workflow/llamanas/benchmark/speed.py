"""Speed of an exported network, timed in turn with the full network of the same precision."""

import platform
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import onnxruntime as ort

from llamanas.benchmark.memory import peak_memory
from llamanas.benchmark.session import Network
from llamanas.export.files import data_file
from llamanas.progress import progress


class Timing(NamedTuple):
    """Of one prompt and its continuation: tokens per second, and seconds until the first new token."""

    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    time_to_first_token_s: float


def measure_speed(
    pick: Path, full: Path, prompt_tokens: int, new_tokens: int, repeats: int, threads: int, seed: int
) -> list[dict]:
    """The measured columns of artifact ``speed``, a row per repeat.

    In each repeat both networks take the same random prompt, first the one and then the other in alternating order, so
    that a change of the machine's speed falls on both. A first run of each is not counted.

    Raises:
        LlamaNasError: a network cannot be loaded.
    """
    constants = {
        "runtime": f"onnxruntime {ort.__version__} CPU",
        "hardware": processor(),
        "threads": threads,
        "prompt_tokens": prompt_tokens,
        "new_tokens": new_tokens,
        "file_bytes": sum(file.stat().st_size for file in (pick, data_file(pick)) if file.exists()),
        "peak_memory_bytes": peak_memory(pick, prompt_tokens, new_tokens, threads),
    }
    networks = {"": Network(pick, threads), "full_": Network(full, threads)}
    size = (repeats + 1, 1, prompt_tokens)
    prompts = np.random.default_rng(seed).integers(networks[""].vocabulary_size, size=size)
    for network in networks.values():
        time_once(network, prompts[-1], new_tokens)
    rows = []
    for repeat in progress(range(repeats), "time", unit="round"):
        row = constants | {"repeat": repeat}
        for prefix in sorted(networks, reverse=bool(repeat % 2)):
            timing = time_once(networks[prefix], prompts[repeat], new_tokens)
            row |= {f"{prefix}{name}": value for name, value in timing._asdict().items()}
        rows.append(row)
    return rows


def time_once(network: Network, prompt: np.ndarray, new_tokens: int) -> Timing:
    """Time a prompt [1, tokens] and the ``new_tokens`` tokens after it, the first of which comes with the prompt."""
    start = perf_counter()
    logits, cache = network.run(prompt, keep=1)
    following = logits[:, -1].argmax(-1)
    first = perf_counter()
    for _ in range(new_tokens - 1):
        logits, cache = network.run(following[:, None], cache)
        following = logits[:, -1].argmax(-1)
    end = perf_counter()
    return Timing(prompt.shape[1] / (first - start), (new_tokens - 1) / (end - first), first - start)


def processor() -> str:
    """Name of the machine's processor."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
