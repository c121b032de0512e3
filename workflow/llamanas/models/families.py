"""Which model families are supported, and what of their config.json matters."""

import json
from pathlib import Path

from llamanas.architecture import ModelShape
from llamanas.errors import LlamaNasError

SUPPORTED = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}


def require_supported(config: dict) -> None:
    """Refuse a model whose architecture the super-network does not reproduce exactly.

    Raises:
        LlamaNasError: the family is unknown, or uses an activation or an attention pattern that is not supported.
    """
    family = config.get("model_type")
    if family not in SUPPORTED:
        raise LlamaNasError(
            f"model family {family!r} is not supported; supported are {', '.join(SUPPORTED.values())} "
            "(model_type in config.json). Choose a model of one of these families in model.source."
        )
    if config.get("hidden_act", "silu") != "silu":
        raise LlamaNasError(
            f"hidden_act {config['hidden_act']!r} is not supported; expected 'silu' (a gated SwiGLU MLP)."
        )
    if family != "mistral" and config.get("use_sliding_window"):
        raise LlamaNasError("use_sliding_window is not supported for Qwen models; expected false in config.json.")


def shape_of(config: dict) -> ModelShape:
    """Sizes of the network that a Hugging Face config.json describes.

    Raises:
        LlamaNasError: an unsupported family, or a missing key.
    """
    require_supported(config)
    family = config["model_type"]
    try:
        heads = config["num_attention_heads"]
        return ModelShape(
            family=family,
            layers=config["num_hidden_layers"],
            hidden_size=config["hidden_size"],
            intermediate_size=config["intermediate_size"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_size=config.get("head_dim") or config["hidden_size"] // heads,
            vocabulary_size=config["vocab_size"],
            tied_head=bool(config.get("tie_word_embeddings", False)),
            attention_bias=family == "qwen2" or bool(config.get("attention_bias", False)),
            output_bias=family in ("llama", "qwen3") and bool(config.get("attention_bias", False)),
            mlp_bias=family == "llama" and bool(config.get("mlp_bias", False)),
            query_key_norm=family == "qwen3",
            sliding_window=config.get("sliding_window") if family == "mistral" else None,
        )
    except KeyError as missing:
        raise LlamaNasError(f"config.json of the model lacks the key {missing}; is the folder complete?") from missing


def read_config(path: str | Path) -> dict:
    """The config.json at this path.

    Raises:
        LlamaNasError: the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise LlamaNasError(f"cannot read the model's configuration {path}: {error}") from error


def named_dtype(config: dict) -> str:
    """The type of the weights that a config.json names."""
    return config.get("dtype") or config.get("torch_dtype") or "float32"


def bytes_per_parameter(config: dict, dtype: str) -> int:
    """Bytes of one weight as stored: of ``dtype``, or for ``auto`` of the type that config.json names."""
    return 4 if (named_dtype(config) if dtype == "auto" else dtype) == "float32" else 2
