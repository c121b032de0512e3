"""Training examples packed into rows without seeing each other, with the answers to predict."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from llamanas.models.decoder import Sequence
from llamanas.randomness import generator


class Answers(NamedTuple):
    """A packed batch: ``rows`` are the flattened [B * T] positions that predict the ``targets``."""

    sequence: Sequence
    rows: Tensor
    targets: Tensor
    tokens: int


def epochs(examples: list[dict], batch_tokens: int, seed: int) -> Iterator[list[dict]]:
    """Endless batches of whole examples of at most ``batch_tokens`` tokens, shuffled anew in every epoch."""
    batch: list[dict] = []
    used = epoch = 0
    while True:
        for index in generator(seed, "epoch", epoch).permutation(len(examples)):
            length = len(examples[index]["prompt"]) + len(examples[index]["answer"])
            if batch and used + length > batch_tokens:
                yield batch
                batch, used = [], 0
            batch.append(examples[index])
            used += length
        epoch += 1


def pack(examples: list[dict], row_tokens: int, device: str = "cpu") -> Answers:
    """The examples in as few rows of about ``row_tokens`` tokens as first-fit finds, each attending to itself alone.

    Examples are rows of artifact ``instructions``; only their answers are predicted.
    """
    lines: list[list[dict]] = []
    room: list[int] = []
    for example in examples:
        need = len(example["prompt"]) + len(example["answer"])
        fitting = [index for index, free in enumerate(room) if free >= need]
        if not fitting:
            lines.append([])
            room.append(max(row_tokens, need))
        place = fitting[0] if fitting else -1
        lines[place].append(example)
        room[place] -= need
    length = max(sum(len(e["prompt"]) + len(e["answer"]) for e in line) for line in lines)
    tokens, positions = np.zeros((2, len(lines), length), np.int64)
    segments = np.full((len(lines), length), -1)
    rows: list[int] = []
    targets: list[int] = []
    for row, line in enumerate(lines):
        slot = 0
        for number, example in enumerate(line):
            text, start = example["prompt"] + example["answer"], max(len(example["prompt"]), 1)
            tokens[row, slot : slot + len(text)] = text
            positions[row, slot : slot + len(text)] = range(len(text))
            segments[row, slot : slot + len(text)] = number
            rows += [row * length + slot + place - 1 for place in range(start, len(text))]
            targets += text[start:]
            slot += len(text)
    segment = torch.from_numpy(segments).to(device)
    order = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    visible = (order & (segment[:, :, None] == segment[:, None, :]))[:, None].contiguous()
    sequence = Sequence(torch.from_numpy(tokens).to(device), torch.from_numpy(positions).to(device), visible)
    counts = torch.tensor(rows, device=device), torch.tensor(targets, device=device)
    return Answers(sequence, *counts, tokens=int((segments >= 0).sum()))
