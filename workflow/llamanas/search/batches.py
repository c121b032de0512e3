"""Items packed as sequences: a prefix runs once, its choices branch off it, each seeing the prefix and itself."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llamanas.models.place import Sequence


@dataclass(frozen=True)
class Row:
    """One packed sequence: a prefix and the branches of some choices, the first of which has this number of all.

    ``length`` counts the positions that are computed; a branch's last token predicts nothing that is scored.
    """

    prefix: list[int]
    branches: list[list[int]]
    scored: list[int]
    first_choice: int
    length: int


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


def packed_rows(items: list[dict]) -> list[Row]:
    """A row per item, in order; choices that share no first token have a row each."""
    rows: list[Row] = []
    choice = 0
    for item in items:
        prefix, branches, scored = item["prefix"], item["branches"], item["scored"]
        groups = [(branches, scored)] if prefix else [([b], [s]) for b, s in zip(branches, scored, strict=True)]
        for group, counts in groups:
            rows.append(Row(prefix, group, counts, choice, len(prefix) + sum(map(len, group)) - len(group)))
            choice += len(group)
    return rows


def batches(rows: list[Row], batch_tokens: int, device: str) -> list[Batch]:
    """The rows in batches of at most ``batch_tokens`` positions, padding counted, rows of similar length together."""
    ordered = sorted(rows, key=lambda row: (len(row.branches) > 1, row.length, row.first_choice))
    return [_pack(group, device) for group in _groups(ordered, batch_tokens)]


def _groups(rows: list[Row], batch_tokens: int) -> Iterator[list[Row]]:
    """Consecutive rows whose batch is not too large; rows with one branch and with several are never together."""
    group: list[Row] = []
    for row in rows:
        mixed = group and (len(group[0].branches) > 1) != (len(row.branches) > 1)
        if group and (mixed or row.length * (len(group) + 1) > batch_tokens):
            yield group
            group = []
        group.append(row)
    yield group


def _pack(group: list[Row], device: str) -> Batch:
    branches = list(chain.from_iterable(row.branches for row in group))
    counts = np.array([len(row.branches) for row in group])
    lines, length = np.repeat(np.arange(len(group)), counts), max(row.length for row in group)
    prefix = np.array([len(row.prefix) for row in group])
    sizes = np.array(list(map(len, branches))) - 1  # without the last token of each branch
    number = _places(counts) + 1  # of each branch in its row
    before = sizes.cumsum() - sizes  # tokens of all earlier branches, from which those of earlier rows go off
    begins = prefix[lines] + before - np.repeat(before[counts.cumsum() - counts], counts)

    arrays = np.zeros((3, len(group) * length), np.int64)
    tokens, positions, segments = arrays
    segments[:] = -1  # padding; 0 is the prefix, j the j-th branch
    at = np.repeat(np.arange(len(group)) * length, prefix) + _places(prefix)
    tokens[at], positions[at], segments[at] = _flat(row.prefix for row in group), _places(prefix), 0
    inner = _places(sizes)
    at = np.repeat(lines * length + begins, sizes) + inner
    tokens[at] = _flat(branch[:-1] for branch in branches)
    positions[at], segments[at] = np.repeat(prefix[lines], sizes) + inner, np.repeat(number, sizes)

    scored = np.fromiter(chain.from_iterable(row.scored for row in group), np.int64)
    place = np.repeat(sizes + 1 - scored, scored) + _places(scored)  # of each scored token in its branch
    # Its predictor is the token before; of a branch's first token that is the prefix's last.
    line = np.repeat(lines, scored)
    where = line * length + np.where(place > 0, np.repeat(begins, scored) + place, prefix[line]) - 1
    targets = _flat(branch[len(branch) - count :] for branch, count in zip(branches, scored.tolist(), strict=True))
    owners = np.repeat(np.repeat([row.first_choice for row in group], counts) + number - 1, scored)

    by_row = [torch.from_numpy(array).to(device).view(len(group), length) for array in arrays]
    # Without branches plain causal attention is right: padding comes last, so that no token sees it.
    visible = _visible(by_row[2]) if counts.max() > 1 else None
    sequence = Sequence(by_row[0], by_row[1], visible)
    return Batch(sequence, torch.from_numpy(where).to(device), torch.from_numpy(targets).to(device), owners)


def _flat(lists: Iterable[list[int]]) -> NDArray:
    """The numbers of all lists, one after the other."""
    return np.fromiter(chain.from_iterable(lists), np.int64)


def _places(counts: NDArray) -> NDArray:
    """0, 1, ... count - 1 for each count, one after the other."""
    return np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)


def _visible(segment: Tensor) -> Tensor:
    """Mask [B, 1, T, T] of what each position sees: earlier ones of its own segment, and of the prefix.

    Padding sees itself, since a row that sees nothing has no softmax.
    """
    length = segment.shape[1]
    order = torch.ones(length, length, dtype=torch.bool, device=segment.device).tril()
    same = segment[:, :, None] == segment[:, None, :]
    return (order & (same | (segment[:, None, :] == 0) & (segment[:, :, None] >= 0)))[:, None].contiguous()
