"""The super-network's training: adapters, strategies, resuming."""

import pytest
import torch

from conftest import tiny_model
from llamanas.architecture import Architecture
from llamanas.data.packing import pack
from llamanas.errors import LlamaNasError
from llamanas.finetune import train as training
from llamanas.finetune.lora import add_adapters, merge_adapters
from llamanas.finetune.losses import answer_loss, distillation_loss, instatune_loss
from llamanas.models.decoder import load_decoder, tensors_to_save
from llamanas.supernet.space import search_space

EXAMPLES = [
    {"source": "a", "prompt": [n, n + 1, n + 2], "answer": [(7 * n + k) % 300 for k in range(1 + n % 4)]}
    for n in range(24)
]
LORA = {"rank": 4, "alpha": 8, "targets": ["q_proj", "v_proj", "gate_proj", "up_proj", "down_proj"]}
SETTINGS = {
    "strategy": "instatune", "method": "lora", "steps": 6, "batch_tokens": 40, "learning_rate": 0.01, "warmup": 0.2,
    "weight_decay": 0.0, "answer_weight": 0.3, "checkpoint_steps": 2, "lora": LORA,
}  # fmt: skip
SPACE = {"intermediate_sizes": [32, 64], "drop_layers": True, "drop_attention": True, "minimum_depth": 0.5}
SUBNET = Architecture((True, False, True, False), (96, 32, 128, 0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tiny_model("llama").save_pretrained(path)
    return path


def trained(folder, resume, **changes):
    decoder = load_decoder(folder)
    losses = training.train(
        decoder, search_space(decoder.shape, SPACE), EXAMPLES, SETTINGS | changes, 3, "float32", resume
    )
    return decoder, losses


@torch.no_grad()
def test_merged_super_network_equals_the_adapted_one(family_folder):
    decoder, batch = load_decoder(family_folder), pack(EXAMPLES[:5], 40)
    plain = decoder(batch.sequence, SUBNET)
    add_adapters(decoder, LORA)
    for name, parameter in decoder.named_parameters():
        if "lora_B" in name:
            parameter.normal_(0, 0.1)
    adapted = [decoder(batch.sequence, architecture) for architecture in (None, SUBNET)]
    assert not torch.allclose(adapted[1], plain, atol=1e-2)
    merge_adapters(decoder)
    merged = [decoder(batch.sequence, architecture) for architecture in (None, SUBNET)]
    torch.testing.assert_close(merged, adapted, atol=1e-4, rtol=1e-4)
    assert tensors_to_save(decoder).keys() == tensors_to_save(load_decoder(family_folder)).keys()


@pytest.mark.parametrize("method", ["lora", "full"])
def test_training_lowers_the_loss_of_full_and_sub_network(folder, tmp_path, method):
    batch = pack(EXAMPLES, 64)

    def losses(decoder) -> list[float]:
        return [float(answer_loss(decoder(batch.sequence, a).flatten(0, 1)[batch.rows], batch.targets))
                for a in (decoder.shape.full, SUBNET)]  # fmt: skip

    before = losses(load_decoder(folder))
    decoder, rows = trained(folder, tmp_path, steps=40, method=method)
    assert all(after < 0.9 * first for after, first in zip(losses(decoder), before, strict=True))
    assert len(rows) == 80 and {row["step"] for row in rows} == set(range(40))


def test_alternate_trains_full_and_sub_network_in_turn(folder, tmp_path):
    _, rows = trained(folder, tmp_path, strategy="alternate")
    assert [row["subnet"] == "full" for row in rows] == [True, False] * 3


def test_resumed_training_equals_an_unbroken_one(folder, tmp_path, monkeypatch):
    unbroken, losses = trained(folder, tmp_path / "a")
    step = training._step_losses

    def killed(decoder, batch, architecture, settings, number):
        if number == 5:
            raise KeyboardInterrupt
        return step(decoder, batch, architecture, settings, number)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "_step_losses", killed)
        trained(folder, tmp_path / "b")
    steps = []
    monkeypatch.setattr(training, "_step_losses", lambda *a: steps.append(a[-1]) or step(*a))
    resumed, again = trained(folder, tmp_path / "b")
    assert steps == [4, 5] and again == losses
    for name, tensor in tensors_to_save(unbroken).items():
        assert torch.equal(tensor, tensors_to_save(resumed)[name]), name


def test_no_steps_leave_the_network_as_it_is(folder, tmp_path):
    decoder, rows = trained(folder, tmp_path, steps=0)
    assert rows == []
    for name, tensor in tensors_to_save(load_decoder(folder)).items():
        assert torch.equal(tensor, tensors_to_save(decoder)[name])


def test_loss_that_is_not_finite_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "answer_loss", lambda logits, targets: answer_loss(logits, targets) * float("nan"))
    with pytest.raises(LlamaNasError, match="nan at step 0; lower finetune.learning_rate"):
        trained(folder, tmp_path)


def test_losses_against_their_definitions():
    student, teacher, targets = torch.randn(5, 9), torch.randn(5, 9), torch.randint(9, (5,))
    p, q = teacher.softmax(-1), student.softmax(-1)
    divergence = (p * (p / q).log()).sum(-1).mean()
    torch.testing.assert_close(distillation_loss(student, teacher), divergence)
    cross_entropy = -q[range(5), targets].log().mean()
    torch.testing.assert_close(instatune_loss(student, teacher, targets, 0.3), 0.3 * cross_entropy + 0.7 * divergence)


def test_schedule_rises_and_falls():
    rates = [training.schedule(step, 100, 0.1) for step in range(100)]
    assert (
        max(rates) == rates[10] == 1.0 and rates[:11] == sorted(rates[:11]) and rates[10:] == sorted(rates[10:])[::-1]
    )
    assert 0.1 <= rates[-1] < 0.11
