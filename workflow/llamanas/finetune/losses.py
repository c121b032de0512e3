"""Losses of the super-network on answer tokens, without a full [B, T, vocabulary] tensor."""

import torch
import torch.nn.functional as F
from torch import Tensor


def answer_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats; ``logits`` are [N, vocabulary size], of answer positions alone."""
    return F.cross_entropy(logits.float(), targets)


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean KL(teacher || student) in nats over answer positions; both are logits [N, vocabulary size]."""
    student, teacher = student.float().log_softmax(-1), teacher.float().log_softmax(-1)
    return F.kl_div(student, teacher.detach(), reduction="none", log_target=True).sum(-1).mean()


def instatune_loss(student: Tensor, teacher: Tensor, targets: Tensor, answer_weight: float) -> Tensor:
    """A sub-network's loss in InstaTune (arXiv 2308.15609): answers and the full network's distribution, weighted."""
    distillation = distillation_loss(student, teacher)
    return answer_weight * answer_loss(student, targets) + (1 - answer_weight) * distillation


def answer_logits(hidden: Tensor, rows: Tensor, head: torch.nn.Module) -> Tensor:
    """Logits [N, vocabulary size] at the flattened positions ``rows`` of hidden states [B, T, hidden size]."""
    return head(hidden.flatten(0, 1)[rows])
