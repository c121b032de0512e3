"""Which tensors a sub-network has, and how they are cut."""

import pytest
import torch

from llamanas.architecture import Architecture
from llamanas.errors import LlamaNasError
from llamanas.export.weights import SubnetTensors, WeightFile
from llamanas.models.families import read_config, shape_of

MIXED = Architecture((0, 1, 0, 2), (0, 96, 32, 0))


def test_parameters_are_those_of_the_architecture(family, family_folder):
    shape = shape_of(read_config(family_folder / "config.json"))
    tensors = SubnetTensors(WeightFile(family_folder / "model.safetensors"), MIXED, shape)
    assert sum(tensor.numel() for tensor in tensors.values()) == MIXED.parameters(shape)


def test_layers_are_renumbered_and_units_are_prefixes(family_folder):
    file = WeightFile(family_folder / "model.safetensors")
    shape = shape_of(read_config(family_folder / "config.json"))
    tensors = SubnetTensors(file, MIXED, shape)
    mlps, attentions = ("gate_proj", "up_proj", "down_proj"), ("q_proj", "k_proj", "v_proj", "o_proj")
    full = {name: file[f"model.layers.1.mlp.{name}.weight"] for name in mlps}
    full |= {name: file[f"model.layers.1.self_attn.{name}.weight"] for name in attentions}
    assert torch.equal(tensors["model.layers.0.mlp.gate_proj.weight"], full["gate_proj"][:96])
    assert torch.equal(tensors["model.layers.0.mlp.up_proj.weight"], full["up_proj"][:96])
    assert torch.equal(tensors["model.layers.0.mlp.down_proj.weight"], full["down_proj"][:, :96])
    for name, rows in (("q_proj", 32), ("k_proj", 16), ("v_proj", 16)):  # two query heads of 16 values share a key's
        assert torch.equal(tensors[f"model.layers.0.self_attn.{name}.weight"], full[name][:rows])
    assert torch.equal(tensors["model.layers.0.self_attn.o_proj.weight"], full["o_proj"][:, :32])
    parts = {name.split(".")[3] for name in tensors if name.startswith("model.layers.1.")}
    assert parts == {"mlp", "post_attention_layernorm"}
    assert not any(name.startswith("model.layers.3.") for name in tensors)
    for tensor in tensors.values():
        assert tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.numel() * tensor.itemsize


@pytest.mark.parametrize("architecture", [Architecture((2,) * 3, (64,) * 3), Architecture((0,) * 4, (0,) * 4)])
def test_unfit_architecture_is_refused(family_folder, architecture):
    shape = shape_of(read_config(family_folder / "config.json"))
    with pytest.raises(LlamaNasError, match="keeps"):
        SubnetTensors(WeightFile(family_folder / "model.safetensors"), architecture, shape)


def test_truncated_file_is_named(family_folder, tmp_path):
    (tmp_path / "model.safetensors").write_bytes((family_folder / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(LlamaNasError, match="model.safetensors"):
        WeightFile(tmp_path / "model.safetensors")
