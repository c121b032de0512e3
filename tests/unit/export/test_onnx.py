"""ONNX networks in ONNX Runtime against the super-network's views."""

import numpy as np
import onnxruntime as ort
import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import ROPES, tiny_model
from llamanas.architecture import Architecture
from llamanas.benchmark.session import Network
from llamanas.errors import LlamaNasError
from llamanas.export.onnx import write_onnx
from llamanas.models.decoder import load_decoder
from llamanas.models.place import Sequence

ARCHITECTURES = [
    Architecture((2,) * 4, (128,) * 4),
    Architecture((2, 0, 1, 0), (96, 32, 0, 128)),
    Architecture((0, 0, 2, 2), (0, 64, 96, 32)),
    Architecture((0, 2, 0, 0), (64, 0, 128, 128)),
    Architecture((0,) * 4, (128, 0, 64, 0)),
    Architecture((1, 2, 0, 1), (128, 64, 96, 0)),
]
TOKENS = np.random.default_rng(0).integers(320, size=(2, 30))  # longer than the tiny Mistral's window


@torch.no_grad()
def expected(folder, architecture, tokens: np.ndarray = TOKENS) -> np.ndarray:
    ids = torch.from_numpy(tokens)
    return load_decoder(folder)(Sequence(ids, torch.arange(ids.shape[1]).expand(len(ids), -1)), architecture).numpy()


def exported(folder, architecture, destination) -> Network:
    write_onnx(folder, architecture, destination)
    return Network(destination / "model.onnx")


def close(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert np.array_equal(found.argmax(-1), wanted.argmax(-1))


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.id)
def test_logits_equal_the_super_network(family_folder, tmp_path, architecture):
    network = exported(family_folder, architecture, tmp_path)
    wanted = expected(family_folder, architecture)
    close(network.run(TOKENS)[0], wanted)
    close(network.run(TOKENS, keep=3)[0], wanted[:, -3:])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.id)
def test_prefill_and_decode_equal_the_full_prompt(family_folder, tmp_path, architecture):
    network = exported(family_folder, architecture, tmp_path)
    wanted = expected(family_folder, architecture)
    logits, cache = network.run(TOKENS[:, :11])
    close(logits, wanted[:, :11])
    for place in range(11, TOKENS.shape[1]):
        logits, cache = network.run(TOKENS[:, place : place + 1], cache)
        close(logits[:, 0], wanted[:, place])


def test_long_text_equals_the_super_network(family_folder, tmp_path):
    """200 positions at once, and the last of them one by one."""
    network, architecture = exported(family_folder, ARCHITECTURES[3], tmp_path), ARCHITECTURES[3]
    tokens = np.random.default_rng(1).integers(320, size=(1, 200))
    wanted = expected(family_folder, architecture, tokens)
    close(network.run(tokens)[0], wanted)
    _, cache = network.run(tokens[:, :190])
    for place in range(190, 200):
        logits, cache = network.run(tokens[:, place : place + 1], cache)
        close(logits[:, 0], wanted[:, place])


def test_right_padded_batch_equals_solo(family_folder, tmp_path):
    architecture = ARCHITECTURES[1]
    network = exported(family_folder, architecture, tmp_path)
    wanted, lengths = expected(family_folder, architecture), np.array([5, 17])
    padded = np.where(np.arange(17) < lengths[:, None], TOKENS[:, :17], 7)
    logits, cache = network.run(padded, lengths=lengths)
    close(logits[0, :5], wanted[0, :5])
    close(logits[1], wanted[1, :17])
    cache = cache.rows([1, 0, 0])
    for step in range(6):
        logits, cache = network.run(TOKENS[[1, 0, 0], [17 + step, 5 + step, 5 + step]][:, None], cache)
        close(logits[:, 0], wanted[[1, 0, 0], [17 + step, 5 + step, 5 + step]])


def test_interface(family_folder, tmp_path):
    architecture = ARCHITECTURES[1]
    write_onnx(family_folder, architecture, tmp_path)
    session = ort.InferenceSession(tmp_path / "model.onnx")
    inputs = {value.name: value.shape for value in session.get_inputs()}
    assert inputs["input_ids"] == ["batch", "sequence"]
    caches = {name for name in inputs if name.startswith("past_key_values.")}
    assert caches == {f"past_key_values.{n}.{part}" for n in range(2) for part in ("key", "value")}
    feeds = {name: np.zeros((1, inputs[name][1], 0, 16), np.float32) for name in caches}
    feeds |= {"input_ids": TOKENS[:1], "attention_mask": np.ones((1, 30), np.int64)}
    logits, *present = session.run(None, feeds)  # logits_to_keep may be left out
    close(logits, expected(family_folder, architecture)[:1])
    assert [array.shape for array in present] == [(1, 2, 30, 16)] * 2 + [(1, 1, 30, 16)] * 2


def test_tied_table_is_stored_once(family_folder, tmp_path):
    full = ARCHITECTURES[0]
    write_onnx(family_folder, full, tmp_path)
    weights = (family_folder / "model.safetensors").stat().st_size
    tables = 2 * 256 * 8 * 4  # cosine and sine of 256 positions
    assert (tmp_path / "model.onnx.data").stat().st_size == pytest.approx(weights + tables, rel=0.05)


@pytest.mark.parametrize("rope", ROPES.values(), ids=ROPES)
def test_scaled_rotary_positions(tmp_path, rope):
    tiny_model("llama", rope_parameters=rope).save_pretrained(tmp_path)
    close(exported(tmp_path, ARCHITECTURES[1], tmp_path / "onnx").run(TOKENS)[0], expected(tmp_path, ARCHITECTURES[1]))


def test_biases_of_llama(tmp_path):
    tiny_model("llama", attention_bias=True, mlp_bias=True).save_pretrained(tmp_path)
    close(exported(tmp_path, ARCHITECTURES[1], tmp_path / "onnx").run(TOKENS)[0], expected(tmp_path, ARCHITECTURES[1]))


def test_weights_in_bfloat16_become_float32(family_folder, tmp_path):
    (tmp_path / "config.json").write_bytes((family_folder / "config.json").read_bytes())
    weights = {n: t.bfloat16() for n, t in load_file(family_folder / "model.safetensors").items()}
    save_file(weights, tmp_path / "model.safetensors")
    network = exported(tmp_path, ARCHITECTURES[1], tmp_path / "onnx")
    close(network.run(TOKENS)[0], expected(tmp_path, ARCHITECTURES[1]))


def test_missing_network_is_named(tmp_path):
    with pytest.raises(LlamaNasError, match="model.onnx"):
        Network(tmp_path / "model.onnx")
