"""Losses in chunks, against their definitions and PyTorch's own gradients."""

import pytest
import torch

from llamanas.finetune import losses
from llamanas.finetune.losses import Targets, Teacher, head_loss, hidden_loss

P, N, HIDDEN, VOCABULARY = 2, 11, 6, 19


@pytest.fixture(params=[2**26, 4 * VOCABULARY * P * 4], ids=["one chunk", "chunks of four"])
def chunks(request, monkeypatch):
    monkeypatch.setitem(losses.CHUNK_BYTES, "cpu", request.param)


def inputs() -> tuple[torch.Tensor, torch.Tensor, Targets, Teacher]:
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(P, N, HIDDEN, generator=draw)
    head, other = (torch.randn(rows, HIDDEN, generator=draw) for rows in (VOCABULARY, N))
    tokens = torch.randint(VOCABULARY, (N,), generator=draw)
    weights = torch.rand(2, P, N, generator=draw)
    teacher_head = torch.randn(VOCABULARY, HIDDEN, generator=draw)
    return hidden.requires_grad_(), head.requires_grad_(), Targets(tokens, *weights), Teacher(other, teacher_head)


def defined(hidden, head, targets, teacher) -> tuple[torch.Tensor, torch.Tensor]:
    student = (hidden @ head.T).softmax(-1)
    losses = -(targets.answer_weights * student[:, range(N), targets.tokens].log()).sum(-1)
    if teacher:
        wanted = (teacher.hidden @ teacher.head.T).softmax(-1)
        losses = losses + (targets.teacher_weights * (wanted * (wanted / student).log()).sum(-1)).sum(-1)
    return losses.sum(), losses.detach()


@pytest.mark.parametrize("taught", [True, False])
@pytest.mark.usefixtures("chunks")
def test_loss_and_gradients_are_those_of_the_definition(taught):
    hidden, head, targets, teacher = inputs()
    if not taught:
        teacher, targets = None, targets._replace(teacher_weights=torch.zeros(P, N))
    results = []
    for function in (head_loss, defined):
        loss, losses = function(hidden, head, targets, teacher)
        results.append((losses, loss.detach(), *torch.autograd.grad(3 * loss, (hidden, head))))
    torch.testing.assert_close(results[0], results[1])


def test_a_frozen_head_gets_no_gradient():
    hidden, head, targets, teacher = inputs()
    head_loss(hidden, head.detach(), targets, teacher)[0].backward()
    assert head.grad is None and hidden.grad.abs().sum() > 0


def test_equal_teacher_and_student_do_not_diverge():
    hidden, head, targets, _ = inputs()
    hidden = hidden[:1].expand(P, -1, -1)
    targets = targets._replace(answer_weights=torch.zeros(P, N))
    loss, _ = head_loss(hidden, head, targets, Teacher(hidden[0].detach(), head.detach()))
    (gradient,) = torch.autograd.grad(loss, hidden)
    assert abs(loss.item()) < 1e-6 and gradient.abs().max() < 1e-6


def test_hidden_loss_is_a_share_of_the_teachers_square():
    teacher = torch.randn(4, 5)
    assert float(hidden_loss(teacher, teacher)) == 0
    assert float(hidden_loss(2 * teacher, teacher)) == pytest.approx(1)
