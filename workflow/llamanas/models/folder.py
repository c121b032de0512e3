"""Read a model from a Hugging Face folder with safetensors weights, in one file or in shards."""

import json
from collections import Counter, defaultdict
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from llamanas.errors import LlamaNasError
from llamanas.models.canonical import HEAD, WEIGHTS, Checkpoint, check_shapes, expected_shapes
from llamanas.models.families import read_config, require_supported

_EMBEDDING = "model.embed_tokens.weight"
_TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json")


class Stored(NamedTuple):
    """Where one tensor is stored, and how."""

    file: Path
    shape: tuple[int, ...]
    type: str


def read_folder(folder: Path, dtype: str, trust_remote_code: bool = False) -> Checkpoint:
    """The model of a folder; headers are checked before any weight is read.

    dtype ``auto`` keeps the type in which most weights are stored. Code that comes with the folder can only concern
    its tokenizer: the network is always the family's own.

    Raises:
        LlamaNasError: an unsupported family, pickled or quantized weights, or a missing, damaged or unfit file.
    """
    config = _config(folder)
    stored = _stored_tensors(_weight_files(folder))
    tied_head = stored.pop(HEAD, None) if config.tie_word_embeddings else None
    check_shapes(str(folder), {name: at.shape for name, at in stored.items()}, expected_shapes(config))
    if unknown := sorted({at.type for at in stored.values()} - _TYPES.keys()):
        raise LlamaNasError(f"{folder} stores weights as {', '.join(unknown)}; supported are {', '.join(_TYPES)}.")
    if tied_head:
        _require_equal_to_embedding(tied_head, stored[_EMBEDDING])
    tokenizer = _tokenizer(folder, trust_remote_code)
    weights = _weights(stored, _stored_type(stored) if dtype == "auto" else getattr(torch, dtype))
    return Checkpoint(config, weights, tokenizer, _generation(folder))


def _config(folder: Path) -> PretrainedConfig:
    """The checked configuration of a folder."""
    settings = read_config(folder / "config.json")
    require_supported(settings)
    if "quantization_config" in settings:
        raise LlamaNasError(f"{folder} holds quantized weights; give the model in float32, bfloat16 or float16.")
    if "AutoModelForCausalLM" in settings.get("auto_map", {}):
        raise LlamaNasError(f"{folder} brings its own network code (auto_map in config.json), which is never run.")
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # each wrong value has its own exception class in transformers
        raise LlamaNasError(f"{folder / 'config.json'} is not a valid configuration: {error}") from error


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model: the single one if there, else the shards that the index names."""
    index = folder / f"{WEIGHTS}.index.json"
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    if index.exists():
        try:
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise LlamaNasError(f"{index} is damaged ({error!r}); fetch it again.") from error
        if missing := [name for name in names if Path(name).name != name or not (folder / name).exists()]:
            raise LlamaNasError(f"{folder} lacks the shards {missing} that its index names; fetch it again.")
        return [folder / name for name in names]
    if any(next(folder.glob(pattern), None) for pattern in _PICKLES):
        raise LlamaNasError(
            f"{folder} holds pickled weights, which can run code when they are read; they are refused. Give a revision "
            "with safetensors weights, or convert them."
        )
    raise LlamaNasError(f"{folder} holds no {WEIGHTS} and no {index.name}; expected a Hugging Face model.")


def _stored_tensors(files: list[Path]) -> dict[str, Stored]:
    """What the headers of the files say of each tensor."""
    stored: dict[str, Stored] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - it is no mapping
                    part = tensors.get_slice(name)
                    stored[name] = Stored(file, tuple(part.get_shape()), part.get_dtype())
        except (SafetensorError, OSError) as error:
            raise LlamaNasError(f"{file} is not a whole safetensors file ({error}); fetch it again.") from error
    # Early Llama files store the rotary frequencies, which follow from the configuration.
    return {name: at for name, at in stored.items() if not name.endswith("rotary_emb.inv_freq")}


def _weights(stored: dict[str, Stored], dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors in one type; those that have it already stay mapped to their file."""
    by_file = defaultdict(list)
    for name, at in stored.items():
        by_file[at.file].append(name)
    weights: dict[str, Tensor] = {}
    for file, names in by_file.items():
        with safe_open(file, framework="pt") as tensors:
            weights |= {name: tensors.get_tensor(name).to(dtype) for name in names}
    return weights


def _stored_type(stored: dict[str, Stored]) -> torch.dtype:
    """The type in which most parameters are stored."""
    parameters: Counter[str] = Counter()
    for at in stored.values():
        parameters[at.type] += prod(at.shape)
    return _TYPES[parameters.most_common(1)[0][0]]


def _require_equal_to_embedding(head: Stored, embedding: Stored) -> None:
    """Refuse a stored output head that differs from the embedding to which the configuration ties it."""
    with safe_open(head.file, framework="pt") as heads, safe_open(embedding.file, framework="pt") as embeddings:
        if torch.equal(heads.get_tensor(HEAD), embeddings.get_tensor(_EMBEDDING)):
            return
    raise LlamaNasError(
        f"config.json ties the output head to the embedding, but {head.file.name} stores a head of its own; set "
        "tie_word_embeddings to false in config.json if the stored head counts."
    )


def _tokenizer(folder: Path, trust_remote_code: bool) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder, exactly as its tokenizer.json has it; other vocabularies are converted."""
    if not any((folder / name).exists() for name in _VOCABULARIES):
        raise LlamaNasError(f"{folder} has no tokenizer; expected one of {', '.join(_VOCABULARIES)}.")
    # The family's own class would rebuild the splitting of text from the vocabulary and ignore that of tokenizer.json.
    kind = PreTrainedTokenizerFast if (folder / "tokenizer.json").exists() else AutoTokenizer
    try:
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except Exception as error:  # tokenizers raises plain Exception for a damaged file
        raise LlamaNasError(f"the tokenizer in {folder} cannot be read: {error}") from error


def _generation(folder: Path) -> dict | None:
    """The generation_config.json of a folder, if there."""
    path = folder / "generation_config.json"
    try:
        return json.loads(path.read_text()) if path.exists() else None
    except ValueError as error:
        raise LlamaNasError(f"{path} is not JSON: {error}") from error
