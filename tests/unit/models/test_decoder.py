"""The decoder against transformers' own classes: same weights, same logits."""

import pytest
import torch

from conftest import ROPES, tiny_model
from llamanas.architecture import Architecture
from llamanas.errors import LlamaNasError
from llamanas.models.decoder import load_decoder
from llamanas.models.place import Sequence


def sequence(batch: int, length: int, seed: int = 0) -> Sequence:
    tokens = torch.randint(320, (batch, length), generator=torch.Generator().manual_seed(seed))
    return Sequence(tokens, torch.arange(length).expand(batch, -1))


@torch.no_grad()
def cut(model, architecture: Architecture):
    """Transformers' model with the parts zeroed that the architecture leaves out."""
    for layer, (heads, width) in zip(model.model.layers, architecture.sizes, strict=True):
        layer.self_attn.o_proj.weight[:, 32 * heads :] = 0  # two query heads of 16 values each share one of them
        if heads == 0 and layer.self_attn.o_proj.bias is not None:
            layer.self_attn.o_proj.bias.zero_()
        layer.mlp.down_proj.weight[:, width:] = 0
        if width == 0 and layer.mlp.down_proj.bias is not None:
            layer.mlp.down_proj.bias.zero_()
    return model


ARCHITECTURES = [
    Architecture((2,) * 4, (128,) * 4),
    Architecture((2, 0, 2, 0), (96, 32, 0, 0)),
    Architecture((0, 2, 0, 2), (64, 128, 0, 128)),
    Architecture((1, 2, 0, 1), (128, 64, 128, 0)),
]


@torch.no_grad()
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.id)
def test_logits_equal_transformers(family, family_folder, architecture):
    decoder = load_decoder(family_folder)
    batch = sequence(2, 24)  # longer than the tiny Mistral's window of 8
    expected = cut(tiny_model(family), architecture)(batch.tokens).logits
    torch.testing.assert_close(decoder(batch, architecture), expected, atol=2e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("rope", ROPES.values(), ids=ROPES)
def test_scaled_rotary_positions_equal_transformers(rope, tmp_path):
    model = tiny_model("llama", rope_parameters=rope)
    model.save_pretrained(tmp_path)
    batch = sequence(1, 40)
    torch.testing.assert_close(load_decoder(tmp_path)(batch), model(batch.tokens).logits, atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_biases_of_llama_equal_transformers(tmp_path):
    tiny_model("llama", attention_bias=True, mlp_bias=True).save_pretrained(tmp_path)
    for architecture in ARCHITECTURES[1], ARCHITECTURES[3]:
        model = tiny_model("llama", attention_bias=True, mlp_bias=True)
        expected = cut(model, architecture)(sequence(1, 9).tokens).logits
        torch.testing.assert_close(load_decoder(tmp_path)(sequence(1, 9), architecture), expected, atol=2e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.id)
def test_every_sub_layer_goes_through_the_call_that_training_gives(family_folder, architecture):
    decoder, batch, seen = load_decoder(family_folder), sequence(2, 9), []

    def call(layer, x, place, part):
        seen.append((decoder.layers.index(layer), part))
        return layer(x, place, part)

    hidden = decoder.hidden(batch, architecture, call)
    assert tuple(seen) == architecture.steps
    assert torch.equal(hidden, decoder.hidden(batch, architecture))


def test_parameters_are_counted_exactly(family, family_folder):
    decoder = load_decoder(family_folder)
    assert decoder.shape.full.parameters(decoder.shape) == sum(p.numel() for p in decoder.parameters())


def test_truncated_weights_are_named(family_folder, tmp_path):
    (tmp_path / "config.json").write_bytes((family_folder / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes((family_folder / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(LlamaNasError, match="model.safetensors"):
        load_decoder(tmp_path)


def test_missing_tensor_is_named(family_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    (tmp_path / "config.json").write_bytes((family_folder / "config.json").read_bytes())
    weights = load_file(family_folder / "model.safetensors")
    del weights["model.layers.2.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(LlamaNasError, match="layers.2.mlp.up_proj"):
        load_decoder(tmp_path)
