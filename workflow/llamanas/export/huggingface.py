"""A sub-network as a stand-alone Hugging Face folder."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from llamanas.architecture import Architecture, ModelShape
from llamanas.artifacts import whole_file
from llamanas.errors import LlamaNasError
from llamanas.export.card import Run, model_card
from llamanas.export.weights import PaddedTensors, SubnetTensors, WeightFile, is_plain, stored_as
from llamanas.models.families import SUPPORTED, named_dtype, read_config, shape_of
from llamanas.progress import progress

TEMPLATE = Path(__file__).with_name("modeling_hetero_llama.py")
DECILM = Path(__file__).with_name("configuration_decilm.py")
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer_config.json"
COMPANIONS = ("tokenizer.json", TOKENIZER, "chat_template.jinja", "generation_config.json")


def write_folder(
    source: Path, architecture: Architecture, destination: Path, license: str, run: Run | None = None, variant: str = ""
) -> None:
    """Write a sub-network of the super-network in ``source``; its weights are put in place last.

    Where all layers are alike, the folder is an ordinary model of its family. Otherwise it brings its own modeling
    code, under a model type of its own, so that nothing loads it without that code. In the variant ``padded`` zeros
    make all layers alike, which costs what the narrower and missing parts had saved; ``deci`` is for vLLM's own class
    of networks whose layers differ (:func:`deci_config`). Weights have the type that the base model's configuration
    names. The model card tells of ``run``.

    Raises:
        LlamaNasError: weights missing or truncated, an unsupported network or one that the variant cannot hold, or no
            space left on the device.
    """
    config = read_config(source / "config.json")
    shape = shape_of(config)
    stored = stored_as(architecture, shape, variant)
    exported = (deci_config if variant == "deci" else subnet_config)(config, shape, stored)
    _write_text(destination / "config.json", json.dumps(exported, indent=2) + "\n")
    _write_text(destination / "README.md", model_card(shape, architecture, license, run, variant))
    if code := modeling_file(exported):
        _write_text(destination / code, DECILM.read_text() if variant == "deci" else modeling_code(shape.family))
    for name in COMPANIONS:
        if (source / name).exists():
            text = (source / name).read_text()
            _write_text(destination / name, _tokenizer_config(text) if name == TOKENIZER else text)
    with whole_file(destination / WEIGHTS) as temporary:
        weights = WeightFile(source / WEIGHTS)
        own = SubnetTensors(weights, architecture, shape)
        tensors = own if stored == architecture else PaddedTensors(own, SubnetTensors(weights, stored, shape))
        dtype = getattr(torch, named_dtype(config))
        cut = {name: each.to(dtype) for name, each in progress(tensors.items(), "cut", len(tensors), "tensor")}
        save_file(cut, temporary, metadata={"format": "pt"})
        shutil.copymode(destination / "config.json", temporary)  # safetensors makes it readable by its owner alone


def subnet_config(config: dict, shape: ModelShape, architecture: Architecture) -> dict:
    """The config.json of a sub-network, from that of the full network."""
    kept, family = architecture.kept_layers, SUPPORTED[shape.family]
    exported = config | {"num_hidden_layers": len(kept)} | _rotary_keys(config)
    if "layer_types" in config:
        exported["layer_types"] = [config["layer_types"][layer] for layer in kept]
    if is_plain(architecture, shape):
        width = architecture.intermediate_sizes[kept[0]]
        return exported | {"intermediate_size": width, "architectures": [f"{family}ForCausalLM"]}
    name, module = f"Hetero{family}", f"modeling_hetero_{shape.family}"
    digits = len(str(len(kept) - 1))
    return exported | {
        "model_type": f"hetero_{shape.family}",
        "architectures": [f"{name}ForCausalLM"],
        "auto_map": {
            "AutoConfig": f"{module}.{name}Config",
            "AutoModel": f"{module}.{name}Model",
            "AutoModelForCausalLM": f"{module}.{name}ForCausalLM",
        },
        # No layer has this size, so that the family's own class refuses the folder instead of inventing weights.
        "intermediate_size": 0,
        "per_layer_config": {
            f"{number:0{digits}}": _layer_config(shape, architecture, layer) for number, layer in enumerate(kept)
        },
        "head_dim": shape.head_size,  # which does not follow from the number of heads of every layer
    }


def deci_config(config: dict, shape: ModelShape, architecture: Architecture) -> dict:
    """The config.json for vLLM's ``DeciLMForCausalLM`` (its nemotron_nas.py), where layers differ.

    MLPs have their exact widths, ``intermediate_size``: a ``ffn_mult``, which most such files have, is rounded up to a
    multiple of 256. vLLM has no configuration of this model type, so that the folder brings one.

    Raises:
        LlamaNasError: layers differ and have what that class leaves out.
    """
    exported = subnet_config(config, shape, architecture)
    if not exported.pop("per_layer_config", None):
        return exported
    refuse_deci(shape)
    if shape.sliding_window:
        exported["layer_types"] = ["sliding_attention"] * architecture.depth
    return exported | {
        "model_type": "nemotron-nas",
        "architectures": ["DeciLMForCausalLM"],
        "auto_map": {"AutoConfig": f"{DECILM.stem}.DeciLMConfig"},
        "qkv_bias": shape.attention_bias,
        "block_configs": [_block(shape, architecture, layer) for layer in architecture.kept_layers],
    }


def refuse_deci(shape: ModelShape) -> None:
    """Refuse a family of which vLLM's DeciLM runs no network whose layers differ.

    Raises:
        LlamaNasError: it is one.
    """
    if shape.query_key_norm:
        raise LlamaNasError(
            "vLLM's DeciLM has no norms of queries and keys, so that no Qwen3 network whose layers differ is exported "
            "to it. Leave deci out of export.variants; vLLM runs the folder in results/subnets if all layers kept have "
            "their attention."
        )


def _block(shape: ModelShape, architecture: Architecture, layer: int) -> dict:
    """What ``block_configs`` says of one layer."""
    heads, width = architecture.sizes[layer]
    group = {"n_heads_in_group": shape.group_size} if heads else {}
    size = {"intermediate_size": width} if width else {}
    return {"attention": {"no_op": not heads} | group, "ffn": {"no_op": not width} | size}


def _layer_config(shape: ModelShape, architecture: Architecture, layer: int) -> dict:
    """What transformers' ``per_layer_config`` says of one layer."""
    heads, width = architecture.sizes[layer]
    skip = [part for part, size in (("attention", heads), ("mlp", width)) if not size]
    fewer = {"num_attention_heads": heads * shape.group_size, "num_key_value_heads": heads}
    return (
        ({"intermediate_size": width} if width else {})
        | (fewer if 0 < heads < shape.kv_heads else {})
        | ({"skip": skip} if skip else {})
    )


def _rotary_keys(config: dict) -> dict:
    """The rotary positions as transformers 4 and 5 each expect them."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    rope = {"rope_type": rope.get("type", "default"), "rope_theta": config.get("rope_theta", 10000.0)} | rope
    keys = {"rope_theta": rope["rope_theta"], "rope_parameters": rope}
    return keys if rope["rope_type"] == "default" else keys | {"rope_scaling": rope}


def _tokenizer_config(text: str) -> str:
    """A tokenizer_config.json for transformers 4 as well, where the generic tokenizer has another name and inputs."""
    settings = json.loads(text)
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        settings.setdefault("model_input_names", ["input_ids", "attention_mask"])
    return json.dumps(settings, indent=2, ensure_ascii=False) + "\n"


def modeling_file(config: dict) -> str | None:
    """Name of the modeling file that a folder with this config.json needs, or None."""
    return f"{config['auto_map']['AutoConfig'].split('.')[0]}.py" if "auto_map" in config else None


def modeling_code(family: str) -> str:
    """The modeling file of a family: the one for Llama, renamed."""
    return TEMPLATE.read_text().replace("Llama", SUPPORTED[family]).replace("llama", family)


def _write_text(path: Path, text: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text)
