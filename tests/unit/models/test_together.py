"""Sub-networks that pass together: the states and gradients of each alone, with fewer sub-layers computed."""

import pytest
import torch

from conftest import FAMILIES, tiny_model
from llamanas.architecture import Architecture, SubLayer
from llamanas.data.packing import flatten, pack
from llamanas.models import decoder as of
from llamanas.models.decoder import Layer, load_decoder, tensors_to_save
from llamanas.models.joined import join, separate
from llamanas.models.place import Sequence

FULL = Architecture((2,) * 4, (128,) * 4)
NETWORKS = [
    FULL,
    Architecture((2, 2, 2, 0), (128, 32, 128, 0)),
    Architecture((2, 2, 2, 2), (128, 32, 0, 0)),
    Architecture((2, 0, 2, 2), (128, 128, 128, 64)),
    Architecture((2, 1, 2, 1), (128, 32, 128, 128)),
    FULL,
]
EXAMPLES = [
    {"source": "a", "prompt": [n, n + 1], "answer": [n + k for k in range(1 + n % 5)], "labelled": True}
    for n in range(150)
]


def batch():
    return pack(EXAMPLES, row_tokens=64)


def test_states_and_gradients_are_those_of_each_network_alone(family_folder):
    decoder, data, weights = load_decoder(family_folder).requires_grad_(), batch(), torch.arange(1.0, 7)
    together = decoder.hidden_at(data.sequence, data.rows, NETWORKS, Layer.__call__)
    apart = [decoder.hidden(data.sequence, network).flatten(0, 1)[data.rows] for network in NETWORKS]
    torch.testing.assert_close(together, torch.stack(apart), atol=1e-5, rtol=1e-5)
    parameters = {name: p for name, p in decoder.named_parameters() if "lm_head" not in name}
    gradients = [
        torch.autograd.grad((states.square().mean((1, 2)) * weights).sum(), parameters.values())
        for states in (together, torch.stack(apart))
    ]
    for name, one, other in zip(parameters, *gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-3, msg=name)


def test_equal_sub_layers_are_one_call_and_equal_beginnings_one_state(family_folder):
    decoder, data, seen = load_decoder(family_folder), batch(), []

    def call(layer, x, place, part):
        seen.append((decoder.layers.index(layer), *part, len(x) // len(data.sequence.tokens)))
        return layer(x, place, part)

    with torch.no_grad():
        decoder.hidden_at(data.sequence, data.rows, NETWORKS, call)
    assert seen == [
        (0, "attention", 2, 1), (0, "mlp", 128, 1), (1, "attention", 2, 1), (1, "attention", 1, 1),
        (1, "mlp", 128, 2), (1, "mlp", 32, 2), (2, "attention", 2, 4), (2, "mlp", 128, 4),
        (3, "attention", 2, 3), (3, "attention", 1, 1), (3, "mlp", 64, 1), (3, "mlp", 128, 2),
    ]  # fmt: skip


@pytest.mark.parametrize("count", [2, 3])
def test_repeated_rows_with_bounds_are_as_many_texts(family_folder, count, monkeypatch):
    """The kernel that takes bounds needs a GPU; here each text of the repeated batch is computed alone."""
    decoder, data = load_decoder(family_folder), flatten(EXAMPLES[:9], 64, 8, "cpu")

    def varlen(q, k, v, bounds, *about, window_size):
        assert len(q) == bounds[-1] and bounds.dtype == torch.int32 and (bounds.diff() >= 0).all()
        pairs = zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
        texts = [[t[a:b].transpose(0, 1) for t in (q, k, v)] for a, b in pairs if b > a]
        attend = torch.nn.functional.scaled_dot_product_attention
        return torch.cat([attend(*text, is_causal=True).transpose(0, 1) for text in texts])

    monkeypatch.setattr(of, "varlen_attn", varlen)
    with torch.no_grad():
        x, place = torch.randn(count, 64, 64), decoder.place(data.sequence)
        layer = decoder.layers[0]
        part = SubLayer("attention", 2)
        together, apart = layer(x, place.repeated(count), part), [layer(row[None], place, part)[0] for row in x]
    torch.testing.assert_close(together, torch.stack(apart), atol=1e-5, rtol=1e-5)


BIASES = {"attention_bias": True, "mlp_bias": True}


@torch.no_grad()
@pytest.mark.parametrize(("family", "changes"), [("llama", BIASES), *((family, {}) for family in FAMILIES)])
def test_joined_projections_are_the_separate_ones(family, changes, tmp_path):
    tiny_model(family, **changes).save_pretrained(tmp_path)
    decoder = load_decoder(tmp_path)
    tokens = torch.randint(320, (2, 12), generator=torch.Generator().manual_seed(0))
    sequence = Sequence(tokens, torch.arange(12).expand(2, -1))
    expected, weights = [decoder(sequence, network) for network in NETWORKS], tensors_to_save(decoder)
    join(decoder)
    torch.testing.assert_close([decoder(sequence, n) for n in NETWORKS], expected, atol=1e-5, rtol=1e-5)
    separate(decoder)
    again = tensors_to_save(decoder)
    assert again.keys() == weights.keys() and all(torch.equal(again[name], weights[name]) for name in weights)
    assert all(torch.equal(decoder(sequence, n), e) for n, e in zip(NETWORKS, expected, strict=True))
