"""Quantized networks: close to float32, every matrix quantized as its recipe says, fewer bytes."""

from itertools import islice

import numpy as np
import onnx_ir as ir
import pytest

from llamanas.architecture import Architecture
from llamanas.benchmark.session import Network
from llamanas.errors import LlamaNasError
from llamanas.export.onnx import write_onnx
from llamanas.quantize.blocks import dequantize_blocks, quantize_blocks
from llamanas.quantize.network import quantize_network
from llamanas.quantize.plan import ways_of
from llamanas.quantize.sensitivity import fake_activations, fake_quantized

ARCHITECTURE = Architecture((2, 0, 1, 2), (96, 32, 0, 128))
TOKENS = np.random.default_rng(0).integers(320, size=(2, 30))
MIXED = {"method": "weight_only", "bits": 4, "eight_bits": ["head", "down", "qkv"]}


@pytest.fixture
def exact(family_folder, tmp_path):
    write_onnx(family_folder, ARCHITECTURE, tmp_path / "fp32")
    return tmp_path / "fp32/model.onnx"


@pytest.fixture
def eight_bits(exact, tmp_path):
    quantize_network(exact, tmp_path / "int8/model.onnx", lambda product: "int8")
    return tmp_path / "int8/model.onnx"


def divergence(logits: np.ndarray, other: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence over positions, in nats."""
    first, second = (x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in (logits, other))
    return float((np.exp(first) * (first - second)).sum(-1).mean())


def products(path, kind: str) -> dict[str, ir.Node]:
    """The nodes of this kind by their weight's name."""
    return {node.inputs[1].name: node for node in ir.load(path).graph if node.op_type == kind}


def test_close_to_float32(exact, eight_bits):
    exact, quantized = Network(exact), Network(eight_bits)
    wanted, found = exact.run(TOKENS)[0], quantized.run(TOKENS)[0]
    assert 0 < divergence(wanted, found) < 0.01
    logits, cache = quantized.run(TOKENS[:, :-1])
    assert divergence(wanted[:, -1:], quantized.run(TOKENS[:, -1:], cache)[0]) < 0.01
    assert len(list(islice(quantized.generate([1, 2, 3]), 5))) == 5


def test_every_matrix_is_quantized(eight_bits):
    graph = ir.load(eight_bits).graph
    kinds = [node.op_type for node in graph]
    assert "MatMul" not in kinds and "FusedMatMul" not in kinds
    found = products(eight_bits, "MatMulNBits")
    assert len(found) == 3 * 2 + 3 * 3 + 1  # three attentions, three MLPs, the head
    for node in found.values():
        settings = {name: node.attributes[name].as_int() for name in ("bits", "block_size", "accuracy_level")}
        assert settings == {"bits": 8, "block_size": 32, "accuracy_level": 4}
    big = {v.name: v.const_value for v in graph.initializers.values() if len(v.shape) == 2 and "rotary" not in v.name}
    floats = {name for name, tensor in big.items() if tensor.dtype == ir.DataType.FLOAT and "scales" not in name}
    assert not floats
    assert big["model.embed_tokens.weight.float16"].dtype == ir.DataType.FLOAT16


@pytest.mark.parametrize("symmetric", [True, False])
def test_parts_of_a_mixed_recipe_have_the_bits_it_says(exact, eight_bits, tmp_path, symmetric):
    mixed = tmp_path / "mixed/model.onnx"
    quantize_network(exact, mixed, ways_of(MIXED, []), 16, symmetric)
    bits = {name: node.attributes["bits"].as_int() for name, node in products(mixed, "MatMulNBits").items()}
    low = {name for name in bits if any(part in name for part in ("o_proj", "gate_proj", "up_proj"))}
    assert {name: 4 if name in low else 8 for name in bits} == bits and len(low) == 3 + 2 * 3
    wanted, found, finer = (Network(path).run(TOKENS)[0] for path in (exact, mixed, eight_bits))
    assert divergence(wanted, finer) < divergence(wanted, found) < 0.2
    sizes = [path.with_name("model.onnx.data").stat().st_size for path in (exact, eight_bits, mixed)]
    assert sizes[2] < sizes[1] < 0.5 * sizes[0]


def test_dynamic_products_and_float_ones(exact, tmp_path):
    dynamic = tmp_path / "dynamic/model.onnx"
    quantize_network(exact, dynamic, lambda product: "float" if "down" in product or "head" in product else "dynamic")
    assert len(products(dynamic, "DynamicQuantizeMatMul")) == 3 * 2 + 3 * 2
    assert len(products(dynamic, "MatMul") | products(dynamic, "FusedMatMul")) == 3 + 1
    assert 0 < divergence(Network(exact).run(TOKENS)[0], Network(dynamic).run(TOKENS)[0]) < 0.1


def test_files_are_alone(eight_bits):
    assert sorted(file.name for file in eight_bits.parent.iterdir()) == ["model.onnx", "model.onnx.data"]


def test_broken_source_is_named(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(LlamaNasError, match="model.onnx"):
        quantize_network(tmp_path / "model.onnx", tmp_path / "int8/model.onnx", lambda product: "int8")
    assert not (tmp_path / "int8/model.onnx").exists()


@pytest.mark.parametrize(("bits", "symmetric"), [(8, True), (4, True), (4, False)])
@pytest.mark.parametrize("inputs", [64, 80])  # 80 is no multiple of the block
def test_blocks_stand_for_what_the_runtime_multiplies_by(tmp_path, bits, symmetric, inputs):
    draw = np.random.default_rng(1)
    matrix = draw.normal(1.0, 1.0, size=(inputs, 24)).astype(np.float32)
    blocks = quantize_blocks(matrix, bits, 32, symmetric)
    values = dequantize_blocks(blocks, inputs)
    assert np.abs(values - matrix).max() <= np.abs(blocks.scales).max() * (1 if symmetric else 0.5) + 1e-6
    arrays = [blocks.values, blocks.scales] + ([] if symmetric else [blocks.zeros])
    weights = [ir.val(f"w{n}", const_value=ir.tensor(array, name=f"w{n}")) for n, array in enumerate(arrays)]
    x, attributes = ir.val("x", ir.DataType.FLOAT, [5, inputs]), {"K": inputs, "N": 24, "bits": bits, "block_size": 32}
    node = ir.node("MatMulNBits", [x, *weights], attributes, domain="com.microsoft")
    node.outputs[0].name, node.outputs[0].type = "y", ir.TensorType(ir.DataType.FLOAT)
    opsets = {"": 21, "com.microsoft": 1}
    graph = ir.Graph([x], node.outputs, nodes=[node], initializers=weights, opset_imports=opsets, name="g")
    ir.save(ir.Model(graph, ir_version=10), tmp_path / "g.onnx")
    import onnxruntime as ort

    activations = draw.normal(size=(5, inputs)).astype(np.float32)
    (found,) = ort.InferenceSession(tmp_path / "g.onnx").run(None, {"x": activations})
    np.testing.assert_allclose(found, activations @ values, rtol=1e-4, atol=1e-4)


def test_simulated_dynamic_product_is_the_runtimes(tmp_path):
    import onnxruntime as ort
    import torch

    from llamanas.quantize.network import per_output

    draw = np.random.default_rng(2)
    matrix, activations = draw.normal(size=(64, 24)).astype(np.float32), draw.normal(0.3, 1, size=(5, 64))
    integers, scales = per_output(matrix)
    weights = [ir.val(n, const_value=ir.tensor(a, name=n)) for n, a in (("w", integers), ("s", scales))]
    x = ir.val("x", ir.DataType.FLOAT, [5, 64])
    node = ir.node("DynamicQuantizeMatMul", [x, *weights], domain="com.microsoft")
    node.outputs[0].name, node.outputs[0].type = "y", ir.TensorType(ir.DataType.FLOAT)
    opsets = {"": 21, "com.microsoft": 1}
    graph = ir.Graph([x], node.outputs, nodes=[node], initializers=weights, opset_imports=opsets, name="g")
    ir.save(ir.Model(graph, ir_version=10), tmp_path / "g.onnx")
    (found,) = ort.InferenceSession(tmp_path / "g.onnx").run(None, {"x": activations.astype(np.float32)})
    simulated = fake_activations(torch.tensor(activations, dtype=torch.float32))
    wanted = simulated @ fake_quantized(torch.from_numpy(matrix.T.copy()), "dynamic").T
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-3, atol=1e-3)
