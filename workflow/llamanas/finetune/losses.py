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
    """What N positions should predict: tokens [N], and P networks' weights [P, N] of cross-entropy and divergence."""

    tokens: Tensor
    answer_weights: Tensor
    teacher_weights: Tensor


class Teacher(NamedTuple):
    """Hidden states [N, its hidden size] of the teacher at the same positions, and its head's weight."""

    hidden: Tensor
    head: Tensor


def head_loss(hidden: Tensor, head: Tensor, targets: Targets, teacher: Teacher | None = None) -> tuple[Tensor, Tensor]:
    """Weighted sum over positions of the cross-entropy and of KL(teacher || student), in nats.

    ``hidden`` is [P, N, hidden size] of P networks, ``head`` [vocabulary size, hidden size]. Returns the sum over the
    networks and, without a gradient, the loss [P] of each. With both weights of a position, alpha and 1 - alpha, it is
    InstaTune's loss (arXiv 2308.15609, equation 2).
    """
    losses: tuple[Tensor, Tensor] = _HeadLoss.apply(hidden, head, targets, teacher)
    return losses


def hidden_loss(hidden: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of hidden states [N, hidden size] as a share of the teacher's square, mean over positions.

    As in Minitron (arXiv 2407.14679); a share of each position's own, so that it does not depend on the others.
    """
    teacher = teacher.detach().float()
    return ((hidden.float() - teacher).square().sum(-1) / teacher.square().sum(-1)).mean()


class _HeadLoss(torch.autograd.Function):
    """Loss and gradient together, since both need the same probabilities and these are too large to keep."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, targets: Targets, teacher: Teacher | None
    ) -> tuple[Tensor, Tensor]:
        kind, (networks, positions, _) = hidden.device.type, hidden.shape
        size = max(CHUNK_BYTES[kind] // (4 * head.shape[0] * networks), 1)
        for_hidden, for_head = ctx.needs_input_grad[:2]
        chunk_loss = _chunk_loss(kind)
        losses = torch.zeros(networks, device=hidden.device)
        gradient = torch.zeros_like(hidden)
        head_gradient = torch.zeros_like(head, dtype=torch.float32) if for_head else None
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        hidden, head = hidden.to(dtype), head.to(dtype)  # once for all products
        for begin in range(0, positions, size):
            part = slice(begin, begin + size)
            rows = hidden[:, part].flatten(0, 1)
            weights = targets.answer_weights[:, part], targets.teacher_weights[:, part]
            teacher_logits = linear(teacher.hidden[part], teacher.head) if teacher else None
            logits = linear(rows, head).unflatten(0, (networks, -1))
            values, slope = chunk_loss(logits, targets.tokens[part], *weights, teacher_logits)
            slope = slope.flatten(0, 1)
            losses += values.sum(-1)
            if for_hidden:
                gradient[:, part] = linear(slope, head.t()).unflatten(0, (networks, -1))
            if head_gradient is not None:
                head_gradient += linear(slope.t(), rows.t())
        ctx.save_for_backward(gradient, head_gradient)
        ctx.mark_non_differentiable(losses)
        return losses.sum(), losses

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
    some = torch.ones(4, 4, device=device)
    try:
        compiled(some.expand(4, 4, 4), some[0].long(), some, some, some)
    except Exception as error:  # no Triton, or no compiler for it: many kinds
        print(f"computing losses without a compiler, which is slower: {error!r}", file=sys.stderr)
        return _eager_chunk_loss
    return compiled


def _eager_chunk_loss(
    logits: Tensor, tokens: Tensor, answers: Tensor, divergence: Tensor, teacher: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Loss [P, n] of each network and position, and its gradient [P, n, vocabulary size] in the logits.

    ``tokens`` are [n], the weights [P, n], and the teacher's logits [n, vocabulary size].
    """
    logs = logits.float().log_softmax(-1)
    right = tokens[:, None] == torch.arange(logits.shape[-1], device=logits.device)
    loss = -answers * torch.where(right, logs, 0).sum(-1)
    gradient = logs.exp() * (answers + divergence)[..., None] - torch.where(right, answers[..., None], 0)
    if teacher is not None:
        wanted = teacher.float().log_softmax(-1)
        loss = loss + divergence * (wanted.exp() * (wanted - logs)).sum(-1)
        gradient = gradient - divergence[..., None] * wanted.exp()
    return loss, gradient.to(logits.dtype)
