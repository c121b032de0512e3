"""Scales of inputs: no result changes, and rounding loses less where some channels are large."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import tiny_model
from llamanas.architecture import Architecture
from llamanas.benchmark.session import Network
from llamanas.export.onnx import write_onnx
from llamanas.quantize.equalize import balance, read_scales, scale_rows
from llamanas.quantize.network import quantize_network
from llamanas.quantize.sensitivity import bits_rows

ARCHITECTURE = Architecture((2, 0, 1, 2), (96, 32, 0, 128))
DRAW = np.random.default_rng(0)
CALIBRATION, TOKENS = DRAW.integers(320, size=64).tolist(), DRAW.integers(320, size=(4, 30))


@pytest.fixture
def uneven(family, tmp_path):
    """A model of which some channels are much larger than others where products read them, as its weights expect."""
    biased = {"mlp_bias": True} if family == "llama" else {}
    tiny_model(family, **biased).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    hidden = torch.where(torch.arange(64) % 7 == 0, 50.0, 1.0)
    inner = torch.where(torch.arange(128) % 5 == 0, 50.0, 1.0)
    for name, weight in weights.items():
        if name.endswith("layernorm.weight"):
            weight *= hidden
        elif name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight", "gate_proj.weight")):
            weight /= hidden
        elif name.endswith("up_proj.weight"):
            weight *= inner[:, None] / hidden
        elif name.endswith("up_proj.bias"):
            weight *= inner
        elif name.endswith("down_proj.weight"):
            weight /= inner
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    write_onnx(tmp_path, ARCHITECTURE, tmp_path / "fp32")
    return tmp_path


def scales_of(folder):
    return read_scales(scale_rows(folder, ARCHITECTURE, CALIBRATION, "cpu"))


def logits(folder, way, scales, name):
    quantize_network(folder / "fp32/model.onnx", folder / name / "model.onnx", lambda product: way, scales=scales)
    return Network(folder / name / "model.onnx").run(TOKENS)[0]


def divergence(wanted, found) -> float:
    first, second = (x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in (wanted, found))
    return float((np.exp(first) * (first - second)).sum(-1).mean())


def test_scales_change_no_result(uneven):
    scales = scales_of(uneven)
    assert len(scales) == 3 + 3 + 3 + 1  # three attentions, three MLPs of two products, the head
    plain, even = logits(uneven, "float", None, "plain"), logits(uneven, "float", scales, "even")
    np.testing.assert_allclose(even, plain, rtol=0, atol=1e-3)


@pytest.mark.parametrize("way", ["int8", "int4", "dynamic"])
def test_less_is_lost_in_rounding(uneven, way):
    wanted, scales = Network(uneven / "fp32/model.onnx").run(TOKENS)[0], scales_of(uneven)
    plain, even = (divergence(wanted, logits(uneven, way, s, n)) for s, n in ((None, "plain"), (scales, "even")))
    assert even < 0.7 * plain


def test_sensitivities_are_those_of_scaled_products(uneven):
    rows = {}
    for name, scales in (("plain", {}), ("even", scales_of(uneven))):
        rows[name] = {row["product"]: row for row in bits_rows(uneven, ARCHITECTURE, CALIBRATION, "cpu", scales)}
    assert len(rows["even"]) == 3 * 2 + 3 * 2 + 1
    total = {name: sum(row["kl_int4"] for row in found.values()) for name, found in rows.items()}
    assert total["even"] < total["plain"]


def test_balance_gives_half_of_the_range_to_each():
    sizes, weight = torch.tensor([0.5, 1.0, 4.0, 32.0]), torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    scale = balance(sizes, weight)
    assert abs(float(scale.log().mean())) < 1e-9
    inputs, outputs = sizes / scale, (weight * scale).double().square().sum(0).sqrt()
    torch.testing.assert_close(inputs / inputs[0], outputs / outputs[0], check_dtype=False)


def test_unused_channels_are_not_blown_up():
    scale = balance(torch.tensor([1.0, 1.0, 0.0]), torch.ones(5, 3))
    assert 0.1 < float(scale.min() / scale.max()) < 1
