"""Losses of a network on answer tokens, in chunks of positions: full logits exist for one chunk at a time."""

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from llamanas.models.linear import linear

CHUNK_BYTES = {"cpu": 2**26, "cuda": 2**29}  # of float32 logits at once


class Targets(NamedTuple):
    """What N positions should predict: tokens [N], and the weights [N] of cross-entropy and divergence."""

    tokens: Tensor
    answer_weights: Tensor
    teacher_weights: Tensor


class Teacher(NamedTuple):
    """Hidden states [N, its hidden size] of the teacher at the same positions, and its head's weight."""

    hidden: Tensor
    head: Tensor


def head_loss(hidden: Tensor, head: Tensor, targets: Targets, teacher: Teacher | None = None) -> Tensor:
    """Weighted sum over positions of the cross-entropy and of KL(teacher || student), in nats.

    ``hidden`` is [N, hidden size], ``head`` [vocabulary size, hidden size]. With both weights of a position, alpha and
    1 - alpha, it is InstaTune's loss (arXiv 2308.15609, equation 2).
    """
    loss: Tensor = _HeadLoss.apply(hidden, head, targets, teacher)
    return loss


def hidden_loss(hidden: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of hidden states [N, hidden size] as a share of the teacher's square, mean over positions.

    As in Minitron (arXiv 2407.14679); a share of each position's own, so that it does not depend on the others.
    """
    teacher = teacher.detach().float()
    return ((hidden.float() - teacher).square().sum(-1) / teacher.square().sum(-1)).mean()


class _HeadLoss(torch.autograd.Function):
    """Loss and gradient together, since both need the same probabilities and these are too large to keep."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Targets, teacher: Teacher | None) -> Tensor:
        size = max(CHUNK_BYTES[hidden.device.type] // (4 * head.shape[0]), 1)
        for_hidden, for_head = ctx.needs_input_grad[:2]
        chunk_loss = _chunk_loss(hidden.device.type)
        loss = torch.zeros((), device=hidden.device)
        gradient = torch.zeros_like(hidden)
        head_gradient = torch.zeros_like(head, dtype=torch.float32) if for_head else None
        for begin in range(0, len(hidden), size):
            part = slice(begin, begin + size)
            teacher_logits = linear(teacher.hidden[part], teacher.head) if teacher else None
            values, slope = chunk_loss(linear(hidden[part], head), *(t[part] for t in targets), teacher_logits)
            loss += values.sum()
            if for_hidden:
                gradient[part] = linear(slope, head.t().to(slope.dtype))
            if head_gradient is not None:
                head_gradient += linear(slope.t(), hidden[part].t().to(slope.dtype))
        ctx.save_for_backward(gradient, head_gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        hidden, head = ctx.saved_tensors
        return hidden * gradients[0], None if head is None else head * gradients[0], None, None


@cache
def _chunk_loss(device: str) -> Callable[..., tuple[Tensor, Tensor]]:
    """The loss of a chunk, compiled where it waits for memory: eager steps pass over the logits a dozen times."""
    if device == "cpu":
        return _eager_chunk_loss
    compiled = torch.compile(_eager_chunk_loss, dynamic=True)
    some = torch.ones(4, device=device)
    try:
        compiled(some.expand(4, 4), some.long().clamp(max=3), some, some, some.expand(4, 4))
    except Exception as error:  # no Triton, or no compiler for it: many kinds
        print(f"computing losses without a compiler, which is slower: {error!r}", file=sys.stderr)
        return _eager_chunk_loss
    return compiled


def _eager_chunk_loss(
    logits: Tensor, tokens: Tensor, answers: Tensor, divergence: Tensor, teacher: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Loss [n] of each position and its gradient [n, vocabulary size] in the logits."""
    logs = logits.float().log_softmax(-1)
    right = tokens[:, None] == torch.arange(logits.shape[1], device=logits.device)
    loss = -answers * torch.where(right, logs, 0).sum(-1)
    gradient = logs.exp() * (answers + divergence)[:, None] - torch.where(right, answers[:, None], 0)
    if teacher is not None:
        wanted = teacher.float().log_softmax(-1)
        loss = loss + divergence * (wanted.exp() * (wanted - logs)).sum(-1)
        gradient = gradient - divergence[:, None] * wanted.exp()
    return loss, gradient.to(logits.dtype)
