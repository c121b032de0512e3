"""8-bit networks: close to float32, every matrix quantized, about a quarter of the bytes."""

from itertools import islice

import numpy as np
import onnx_ir as ir
import pytest

from llamanas.architecture import Architecture
from llamanas.benchmark.session import Network
from llamanas.errors import LlamaNasError
from llamanas.export.onnx import write_onnx
from llamanas.quantize.int8 import quantize_int8

ARCHITECTURE = Architecture((True, False, True, True), (96, 32, 0, 128))
TOKENS = np.random.default_rng(0).integers(320, size=(2, 30))


@pytest.fixture
def networks(family_folder, tmp_path):
    write_onnx(family_folder, ARCHITECTURE, tmp_path / "fp32")
    quantize_int8(tmp_path / "fp32/model.onnx", tmp_path / "int8/model.onnx")
    return tmp_path / "fp32/model.onnx", tmp_path / "int8/model.onnx"


def divergence(logits: np.ndarray, other: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence over positions, in nats."""
    first, second = (x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in (logits, other))
    return float((np.exp(first) * (first - second)).sum(-1).mean())


def test_close_to_float32(networks):
    exact, quantized = (Network(path) for path in networks)
    wanted, found = exact.run(TOKENS)[0], quantized.run(TOKENS)[0]
    assert 0 < divergence(wanted, found) < 0.01
    logits, cache = quantized.run(TOKENS[:, :-1])
    assert divergence(wanted[:, -1:], quantized.run(TOKENS[:, -1:], cache)[0]) < 0.01
    assert len(list(islice(quantized.generate([1, 2, 3]), 5))) == 5


def test_every_matrix_is_quantized(family, networks):
    graph = ir.load(networks[1]).graph
    kinds = [node.op_type for node in graph]
    assert "MatMul" not in kinds and "FusedMatMul" not in kinds
    products = [node for node in graph if node.op_type == "MatMulNBits"]
    assert len(products) == 3 * 2 + 3 * 3 + 1  # three attentions, three MLPs, the head
    for node in products:
        settings = {name: node.attributes[name].as_int() for name in ("bits", "block_size", "accuracy_level")}
        assert settings == {"bits": 8, "block_size": 32, "accuracy_level": 4}
    big = {v.name: v.const_value for v in graph.initializers.values() if len(v.shape) == 2 and "rotary" not in v.name}
    floats = {name for name, tensor in big.items() if tensor.dtype == ir.DataType.FLOAT and "scales" not in name}
    assert not floats
    assert big["model.embed_tokens.weight.float16"].dtype == ir.DataType.FLOAT16


def test_file_is_small(networks):
    whole, small = (path.with_name("model.onnx.data").stat().st_size for path in networks)
    assert small < 0.5 * whole  # of a tiny network the float16 embedding is a large part
    assert sorted(file.name for file in networks[1].parent.iterdir()) == ["model.onnx", "model.onnx.data"]


def test_broken_source_is_named(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(LlamaNasError, match="model.onnx"):
        quantize_int8(tmp_path / "model.onnx", tmp_path / "int8/model.onnx")
    assert not (tmp_path / "int8/model.onnx").exists()
