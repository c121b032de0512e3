"""Networks in float16: close to float32, nothing left in float32 but the logits, weights beyond float16 refused."""

import numpy as np
import onnx_ir as ir
import pytest
from safetensors.torch import load_file, save_file

from llamanas.architecture import Architecture
from llamanas.benchmark.session import Network
from llamanas.errors import LlamaNasError
from llamanas.export.onnx import write_onnx
from llamanas.quantize.float16 import to_float16

ARCHITECTURES = [
    Architecture((2,) * 4, (128,) * 4),
    Architecture((2, 0, 1, 2), (96, 32, 0, 128)),
    Architecture((0,) * 4, (128, 0, 64, 0)),
]
TOKENS = np.random.default_rng(0).integers(320, size=(2, 30))  # longer than the tiny Mistral's window


def close(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.dtype == np.float32 and 0 < np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()


def both(folder, architecture, work):
    """The network in float32 and in float16."""
    write_onnx(folder, architecture, work / "fp32")
    to_float16(work / "fp32/model.onnx", work / "fp16/model.onnx")
    return work / "fp32/model.onnx", work / "fp16/model.onnx"


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.id)
def test_prefill_and_decode_are_close_to_float32(family_folder, tmp_path, architecture):
    exact, half = (Network(path) for path in both(family_folder, architecture, tmp_path))
    wanted = exact.run(TOKENS)[0]
    close(half.run(TOKENS)[0], wanted)
    close(half.run(TOKENS, keep=3)[0], wanted[:, -3:])
    _, cache = half.run(TOKENS[:, :11])
    assert {value.numpy().dtype for value in cache.entries.values()} <= {np.dtype(np.float16)}
    for place in range(11, TOKENS.shape[1]):
        if place == 20:
            cache = cache.rows([0, 1])
        logits, cache = half.run(TOKENS[:, place : place + 1], cache)
        close(logits[:, 0], wanted[:, place])


def test_only_the_logits_are_float32(family_folder, tmp_path):
    exact, half = both(family_folder, ARCHITECTURES[1], tmp_path)
    graph = ir.load(half).graph
    values = {value.name: value.dtype for value in (*graph.inputs, *graph.outputs, *graph.initializers.values())}
    assert [name for name, dtype in values.items() if dtype == ir.DataType.FLOAT] == ["logits"]
    bytes_of = [path.with_name("model.onnx.data").stat().st_size for path in (exact, half)]
    assert bytes_of[1] == pytest.approx(bytes_of[0] / 2, rel=0.01)
    assert sorted(file.name for file in half.parent.iterdir()) == ["model.onnx", "model.onnx.data"]


def test_a_weight_beyond_float16_is_named(family_folder, tmp_path):
    weights = load_file(family_folder / "model.safetensors")
    weights["model.norm.weight"][3] = -70000
    (tmp_path / "config.json").write_bytes((family_folder / "config.json").read_bytes())
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(LlamaNasError, match=r"model\.norm\.weight has a weight of 70000, beyond float16"):
        both(tmp_path, ARCHITECTURES[1], tmp_path)
    assert not (tmp_path / "fp16/model.onnx").exists()


def test_broken_source_is_named(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(LlamaNasError, match="model.onnx"):
        to_float16(tmp_path / "model.onnx", tmp_path / "fp16/model.onnx")
