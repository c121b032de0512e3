"""Measure sub-networks on a task's items: the log-likelihood of every choice, one packed sequence per item.

An item's prefix runs once: its choices branch off it in the same sequence, each seeing the prefix and itself. Logits
are computed only where a token is scored. The result equals scoring every choice alone (tested against lm-eval).
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from llamanas.architecture import Architecture
from llamanas.artifacts import whole_file
from llamanas.models.decoder import Decoder, Sequence, load_decoder
from llamanas.progress import progress

LOGIT_ROWS = 256  # positions whose full-vocabulary logits are in memory at once


@dataclass(frozen=True)
class Batch:
    """Items packed as sequences, and where their scored tokens are.

    ``rows`` are indices into the flattened [B * T] positions that predict the ``targets``; ``owners`` number the choice
    of each over all items.
    """

    sequence: Sequence
    rows: Tensor
    targets: Tensor
    owners: Tensor


def packed_batches(items: list[dict], batch_tokens: int, device: str) -> list[Batch]:
    """Batches of at most ``batch_tokens`` positions (padding counted) of items of similar length."""
    starts = np.cumsum([0, *(len(item["branches"]) for item in items)])
    order = sorted(range(len(items)), key=lambda index: _length(items[index]))
    batches: list[Batch] = []
    group: list[int] = []
    longest = 0
    for index in order:
        longest = max(longest, _length(items[index]))
        if group and longest * (len(group) + 1) > batch_tokens:
            batches.append(_pack(items, group, starts, device))
            group, longest = [], _length(items[index])
        group.append(index)
    return [*batches, _pack(items, group, starts, device)]


def _length(item: dict) -> int:
    return len(item["prefix"]) + sum(len(branch) - 1 for branch in item["branches"])


def _pack(items: list[dict], group: list[int], starts: np.ndarray, device: str) -> Batch:
    length = max(_length(items[index]) for index in group)
    tokens, positions = np.zeros((2, len(group), length), np.int64)
    segments = np.full((len(group), length), -1)  # -1 padding, 0 prefix, j the j-th branch
    rows, targets, owners = [], [], []
    for line, index in enumerate(group):
        item, shared = items[index], len(items[index]["prefix"])
        tokens[line, :shared], positions[line, :shared], segments[line, :shared] = item["prefix"], range(shared), 0
        slot = shared
        for choice, (branch, scored) in enumerate(zip(item["branches"], item["scored"], strict=True)):
            inputs = slice(slot, slot + len(branch) - 1)
            tokens[line, inputs] = branch[:-1]
            positions[line, inputs] = range(shared, shared + len(branch) - 1)
            segments[line, inputs] = choice + 1
            for place in range(len(branch) - scored, len(branch)):
                rows.append(line * length + (slot + place - 1 if place else shared - 1))
                targets.append(branch[place])
                owners.append(starts[index] + choice)
            slot = inputs.stop
    segment = torch.from_numpy(segments).to(device)
    same = segment[:, :, None] == segment[:, None, :]
    order = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    visible = order & (same | (segment[:, None, :] == 0) & (segment[:, :, None] >= 0))
    sequence = Sequence(
        torch.from_numpy(tokens).to(device), torch.from_numpy(positions).to(device), visible[:, None].contiguous()
    )
    return Batch(sequence, *(torch.tensor(np.array(list(x)), device=device) for x in (rows, targets, owners)))


@torch.no_grad()
def loglikelihoods(
    decoder: Decoder, architecture: Architecture, batches: list[Batch], items: list[dict]
) -> list[list[float]]:
    """Summed log-probability of the scored tokens of each choice of each item."""
    total = torch.zeros(sum(len(item["branches"]) for item in items), dtype=torch.float64)
    for batch in batches:
        hidden = decoder.hidden(batch.sequence, architecture).flatten(0, 1)[batch.rows]
        scores = [
            -torch.nn.functional.cross_entropy(decoder.lm_head(part).float(), targets, reduction="none")
            for part, targets in zip(hidden.split(LOGIT_ROWS), batch.targets.split(LOGIT_ROWS), strict=True)
        ]
        total.index_add_(0, batch.owners.cpu(), torch.cat(scores).double().cpu())
    flat = iter(total.tolist())
    return [[next(flat) for _ in item["branches"]] for item in items]


def judge(item: dict, values: list[float], metric: str) -> tuple[int, bool, float]:
    """The chosen choice, whether it is right, and the log-probability of the gold choices among the choices."""
    scores = np.array(values)
    if metric == "acc_norm":
        scores = scores / np.array(item["lengths"], float)
    chosen = int(scores.argmax())
    gold = np.logaddexp.reduce(scores[item["gold"]]) - np.logaddexp.reduce(scores)
    return chosen, chosen in item["gold"], float(gold)


def answers(
    decoder: Decoder, architecture: Architecture, batches: list[Batch], items: list[dict], metric: str
) -> list[dict]:
    """Rows of artifact ``answers`` of one sub-network, one per item, with the key ``score`` besides."""
    rows = []
    for item, values in zip(items, loglikelihoods(decoder, architecture, batches, items), strict=True):
        chosen, correct, score = judge(item, values, metric)
        row = {"architecture": architecture.id, "item": item["item"], "chosen": chosen, "correct": correct}
        rows.append(row | {"loglikelihoods": values, "score": score})
    return rows


def load_and_answer(
    folder: Path, device: str, compute: dict, candidates: list[dict], items: list[dict], metric: str, resume: Path
) -> list[dict]:
    """Rows of artifact ``answers`` of all candidates on the items, measured with the super-network in ``folder``.

    Each finished candidate is kept in ``resume``, where an interrupted job finds it again.
    """
    decoder = load_decoder(folder, device, compute["dtype"])
    batches = packed_batches(items, compute["batch_tokens"], device)
    rows: list[dict] = []
    for candidate in progress(candidates, "evaluate", len(candidates), "candidate"):
        architecture = Architecture.from_row(candidate)
        kept = resume / f"{architecture.id}.json"
        if not kept.exists():
            with whole_file(kept) as temporary:
                temporary.write_text(json.dumps(answers(decoder, architecture, batches, items, metric)))
        rows += json.loads(kept.read_text())
    return rows


def load_and_score(
    folder: Path, device: str, compute: dict, candidates: list[dict], items: list[dict], metric: str, resume: Path
) -> list[dict]:
    """Rows of artifact ``scores`` of all candidates: means over the items of the search split."""
    rows = load_and_answer(folder, device, compute, candidates, items, metric, resume)
    means = []
    for candidate in candidates:
        own = [row for row in rows if row["architecture"] == candidate["architecture"]]
        means.append(
            {
                "architecture": candidate["architecture"],
                "search_score": float(np.mean([row["score"] for row in own])),
                "search_accuracy": float(np.mean([row["correct"] for row in own])),
                "n_search": len(own),
            }
        )
    return means
