"""Training examples packed into rows without seeing each other, with the answers to predict."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from llamanas.models.place import Sequence
from llamanas.randomness import generator

ROW_TOKENS = 512  # of a packed row: its mask is no burden, and little of it is padding


class Answers(NamedTuple):
    """A packed batch: ``rows`` are the flattened [B * T] positions that predict the ``targets``.

    ``labelled`` says of each target whether it belongs to a right answer. ``real`` [B, T] is true where there is no
    padding, and ``tokens`` counts these places.
    """

    sequence: Sequence
    rows: Tensor
    targets: Tensor
    labelled: Tensor
    real: Tensor
    tokens: int


def epochs(examples: list[dict], batch_tokens: int, seed: int) -> Iterator[list[dict]]:
    """Endless batches of whole examples of at most ``batch_tokens`` tokens, shuffled anew in every epoch."""
    batch: list[dict] = []
    used = epoch = 0
    while True:
        for index in generator(seed, "epoch", epoch).permutation(len(examples)):
            length = _length(examples[index])
            if batch and used + length > batch_tokens:
                yield batch
                batch, used = [], 0
            batch.append(examples[index])
            used += length
        epoch += 1


def divide(examples: list[dict], count: int) -> list[list[dict]]:
    """The examples in ``count`` consecutive parts of about as many tokens each; a part may be empty."""
    parts: list[list[dict]] = [[] for _ in range(count)]
    total, done = sum(map(_length, examples)), 0
    for example in examples:
        parts[min(count * (2 * done + _length(example)) // (2 * total), count - 1)].append(example)
        done += _length(example)
    return parts


def longest(examples: list[dict]) -> int:
    """Tokens of the longest example."""
    return max(map(_length, examples))


def pack(examples: list[dict], device: str = "cpu", row_tokens: int = ROW_TOKENS) -> Answers:
    """The examples in as few rows of about ``row_tokens`` tokens as first-fit finds, each attending to itself alone.

    Examples are rows of artifact ``instructions``; only their answers are predicted.
    """
    row_tokens = max(row_tokens, longest(examples))  # or first-fit would not fill the rows that a long text makes long
    lines: list[list[dict]] = []
    room: list[int] = []
    for example in examples:
        need = _length(example)
        fitting = [index for index, free in enumerate(room) if free >= need]
        if not fitting:
            lines.append([])
            room.append(row_tokens)
        place = fitting[0] if fitting else -1
        lines[place].append(example)
        room[place] -= need
    length = max(sum(map(_length, line)) for line in lines)
    tokens, positions = np.zeros((2, len(lines), length), np.int64)
    segments = np.full((len(lines), length), -1)
    starts = []
    for row, line in enumerate(lines):
        slot = 0
        for number, example in enumerate(line):
            end = slot + _length(example)
            tokens[row, slot:end] = example["prompt"] + example["answer"]
            positions[row, slot:end] = range(end - slot)
            segments[row, slot:end] = number
            starts.append(row * length + slot)
            slot = end
    segment = sent(segments, device)
    order = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    visible = (order & (segment[:, :, None] == segment[:, None, :]))[:, None].contiguous()
    sequence = Sequence(sent(tokens, device), sent(positions, device), visible)
    return _answers(sequence, [example for line in lines for example in line], starts, segment >= 0)


def flatten(examples: list[dict], row_tokens: int, limit: int, device: str) -> Answers:
    """The examples one after the other in a single row of ``row_tokens`` tokens, filled up with padding.

    For attention kernels that take the bounds of the texts instead of a mask. Equal shapes let a compiled network serve
    most batches: the number of bounds is a power of two. No text is longer than ``limit``.
    """
    lengths = [_length(example) for example in examples]
    ends = np.cumsum([0, *lengths])
    tokens, positions = np.zeros((2, 1, row_tokens), np.int64)
    tokens[0, : ends[-1]] = [token for example in examples for part in ("prompt", "answer") for token in example[part]]
    positions[0, : ends[-1]] = np.arange(ends[-1]) - np.repeat(ends[:-1], lengths)
    padding = range(ends[-1], row_tokens, limit)  # texts of their own
    bounds = [*ends[:-1].tolist(), *padding, row_tokens]
    bounds += [row_tokens] * (2 ** math.ceil(math.log2(len(bounds))) - len(bounds))  # empty texts
    arrays = [sent(array, device) for array in (tokens, positions, np.array(bounds, np.int32))]
    real = torch.arange(row_tokens, device=device)[None] < int(ends[-1])
    return _answers(Sequence(arrays[0], arrays[1], None, arrays[2], limit), examples, ends[:-1].tolist(), real)


def sent(array: np.ndarray, device: str) -> Tensor:
    """The array on a device; from pinned memory, so that a GPU's host goes on without waiting for it."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.startswith("cuda") else tensor.to(device)


def _length(example: dict) -> int:
    return len(example["prompt"]) + len(example["answer"])


def _answers(sequence: Sequence, examples: list[dict], starts: list[int], real: Tensor) -> Answers:
    """The batch of examples that begin at these flattened places."""
    rows: list[np.ndarray] = []
    targets: list[int] = []
    labelled: list[bool] = []
    for example, start in zip(examples, starts, strict=True):
        known = max(len(example["prompt"]), 1)  # the first token of all has no predictor
        rows.append(np.arange(start + known, start + _length(example)) - 1)
        targets += (example["prompt"] + example["answer"])[known:]
        labelled += [example["labelled"]] * len(rows[-1])
    arrays = np.concatenate(rows), np.array(targets, np.int64), np.array(labelled, bool)
    places, predicted, known_right = (sent(array, str(real.device)) for array in arrays)
    return Answers(sequence, places, predicted, known_right, real, sum(map(_length, examples)))
