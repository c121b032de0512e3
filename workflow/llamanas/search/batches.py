"""Items packed as sequences: a prefix runs once, its choices branch off it, each seeing the prefix and itself."""

from collections.abc import Sequence as Ordered
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llamanas.models.decoder import Sequence


@dataclass(frozen=True)
class Row:
    """One packed sequence: a prefix and the branches of some choices, whose numbers count over all items."""

    prefix: list[int]
    branches: list[list[int]]
    scored: list[int]
    choices: range

    @property
    def length(self) -> int:
        """Positions that are computed; the last token of a branch predicts nothing that is scored."""
        return len(self.prefix) + sum(len(branch) - 1 for branch in self.branches)


@dataclass(frozen=True)
class Batch:
    """Rows packed together, and where their scored tokens are.

    ``rows`` are indices into the flattened [B * T] positions that predict the ``targets``; ``owners`` are the numbers
    of their choices.
    """

    sequence: Sequence
    rows: Tensor
    targets: Tensor
    owners: NDArray


def packed_rows(items: Ordered[dict]) -> list[Row]:
    """A row per item, in order; choices that share no first token have a row each."""
    rows: list[Row] = []
    start = 0
    for item in items:
        branches, scored = item["branches"], item["scored"]
        numbers = range(start, start + len(branches))
        if item["prefix"]:
            rows.append(Row(item["prefix"], branches, scored, numbers))
        else:
            alone = zip(branches, scored, numbers, strict=True)
            rows += [Row([], [branch], [count], range(number, number + 1)) for branch, count, number in alone]
        start = numbers.stop
    return rows


def batches(rows: list[Row], batch_tokens: int, device: str) -> list[Batch]:
    """The rows in batches of at most ``batch_tokens`` positions, padding counted, rows of similar length together."""
    made: list[Batch] = []
    group: list[Row] = []
    for row in sorted(rows, key=lambda row: (len(row.branches) > 1, row.length, row.choices.start)):
        mixed = group and (len(group[0].branches) > 1) != (len(row.branches) > 1)
        if group and (mixed or row.length * (len(group) + 1) > batch_tokens):
            made.append(_pack(group, device))
            group = []
        group.append(row)
    return [*made, _pack(group, device)]


def _pack(group: list[Row], device: str) -> Batch:
    length = max(row.length for row in group)
    tokens: list[int] = []
    positions: list[int] = []
    segments: list[int] = []  # -1 padding, 0 prefix, j the j-th branch
    rows, targets, owners = [], [], []
    for line, row in enumerate(group):
        shared = len(row.prefix)
        tokens += row.prefix
        positions += range(shared)
        segments += [0] * shared
        slot = line * length + shared
        for number, (branch, scored, choice) in enumerate(zip(row.branches, row.scored, row.choices, strict=True), 1):
            inputs = len(branch) - 1
            tokens += branch[:-1]
            positions += range(shared, shared + inputs)
            segments += [number] * inputs
            first = len(branch) - scored
            if first == 0:  # the branch's first token is predicted by the prefix's last
                rows.append(line * length + shared - 1)
            rows += range(slot + max(first, 1) - 1, slot + inputs)
            targets += branch[first:]
            owners += [choice] * scored
            slot += inputs
        padding = length - row.length
        tokens += [0] * padding
        positions += [0] * padding
        segments += [-1] * padding
    at = [torch.tensor(x, device=device).view(len(group), length) for x in (tokens, positions, segments)]
    # Without branches plain causal attention is right: padding comes last, so that no token sees it.
    visible = _visible(at[2]) if len(group[0].branches) > 1 else None
    where, predicted = torch.tensor(rows, device=device), torch.tensor(targets, device=device)
    return Batch(Sequence(at[0], at[1], visible), where, predicted, np.array(owners))


def _visible(segment: Tensor) -> Tensor:
    """Mask [B, 1, T, T] of what each position sees: earlier ones of its own segment, and of the prefix.

    Padding sees itself, since a row that sees nothing has no softmax.
    """
    length = segment.shape[1]
    order = torch.ones(length, length, dtype=torch.bool, device=segment.device).tril()
    same = segment[:, :, None] == segment[:, None, :]
    return (order & (same | (segment[:, None, :] == 0) & (segment[:, :, None] >= 0)))[:, None].contiguous()
