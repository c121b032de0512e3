"""How fast this machine is at what the workflow does: a measurement of some thirty seconds."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from llamanas.architecture import Architecture
from llamanas.models.families import shape_of
from llamanas.provenance import sha256_of
from llamanas.resources import Model

SECONDS = 5.0  # of each of the two computations, and one repetition more
MOMENT = 0.5  # seconds: a shorter step is tried again with twice the tokens
WRITTEN = 200 * 2**20  # bytes
TOKENS = 64  # of a made-up item


@dataclass(frozen=True)
class Speed:
    """Operations per second of training and of scoring, and bytes per second through files.

    ``start`` and ``tables`` are the seconds until a job with a network computes, and one with tables alone.
    """

    training: float
    scoring: float
    start: float
    tables: float
    disk: float


def measure_speed(config: dict, directory: Path, compute: dict, batch_tokens: int) -> Speed:
    """Measure with two layers of the network that ``config`` (a config.json) describes, random weights in them.

    ``compute`` is that section of the experiment's configuration, ``batch_tokens`` the tokens of a training step. Both
    computations take fewer where those would be long: a large network on a CPU would need minutes for them.
    """
    import torch

    from llamanas.data.packing import pack
    from llamanas.models.decoder import Decoder
    from llamanas.search.score import Scorer

    start, tables = _seconds("import torch, transformers, peft, lm_eval.api.model"), _seconds("import pyarrow, sklearn")
    torch.manual_seed(0)
    torch.set_num_threads(compute["threads"])
    device = "cuda" if compute["device"] != "cpu" and torch.cuda.is_available() else "cpu"
    decoder = Decoder(config | {"num_hidden_layers": 2}).to(device)
    model = Model.of_shape(shape_of(decoder.config))
    words = torch.randint(1, decoder.shape.vocabulary_size, (batch_tokens // TOKENS + 1, TOKENS)).tolist()
    examples = [{"prompt": row[: TOKENS // 2], "answer": row[TOKENS // 2 :], "labelled": True} for row in words]

    def step() -> None:
        hidden = decoder.hidden(batch.sequence).flatten(0, 1)[batch.rows]
        torch.nn.functional.cross_entropy(decoder.lm_head(hidden).float(), batch.targets).backward()
        decoder.zero_grad()

    with torch.autocast(device, torch.bfloat16, enabled=compute["dtype"] == "bfloat16"):
        count, batch = 1, pack(examples[:1], device)
        while count < len(examples) and _fastest(step, device, MOMENT) < MOMENT:
            count = min(2 * count, len(examples))
            batch = pack(examples[:count], device)
        training = 6 * model.macs * batch.tokens / _fastest(step, device, SECONDS)
    words = words[:count]
    decoder = decoder.to(getattr(torch, compute["dtype"])).requires_grad_(False).eval()
    scorer = Scorer(decoder, _items(words), compute["batch_tokens"])
    full: Architecture = decoder.shape.full
    scoring = 2 * model.macs * sum(map(len, words)) / _fastest(lambda: scorer.score([full], {}), device, SECONDS)
    return Speed(training, scoring, start, tables, _disk(directory))


def _items(words: list[list[int]]) -> list[dict]:
    """Multiple-choice items of two choices, each of which has half a text's second half."""
    half, quarter = TOKENS // 2, TOKENS // 4
    return [
        {
            "kind": "multiple_choice",
            "prefix": row[:half],
            "branches": [row[half : half + quarter], row[half + quarter :]],
            "scored": [quarter, quarter],
        }
        for row in words
    ]


def _fastest(work: Callable[[], object], device: str, seconds: float) -> float:
    """Seconds of ``work`` at its fastest, repeated for so long: what else runs at the moment then counts little."""
    import torch

    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):  # what jobs log
        work()
        fastest, begun = float("inf"), time.monotonic()
        while (now := time.monotonic()) - begun < seconds:
            work()
            if device != "cpu":
                torch.cuda.synchronize()
            fastest = min(fastest, time.monotonic() - now)
    return fastest


def _seconds(code: str) -> float:
    """Seconds of a Python process that runs this, the faster of two."""
    took = []
    for _ in range(2):
        begun = time.monotonic()
        subprocess.run([sys.executable, "-c", code], check=True)
        took.append(time.monotonic() - begun)
    return min(took)


def _disk(directory: Path) -> float:
    """Bytes per second that are hashed and written to the disk of a directory; jobs hash what they read as well."""
    block = os.urandom(2**20)
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".calibrate-") as file:
        begun = time.monotonic()
        for _ in range(WRITTEN // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        sha256_of(file.name)
        return WRITTEN / (time.monotonic() - begun)
