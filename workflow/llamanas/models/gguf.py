"""Read a model from a GGUF file: weights dequantized once, tokenizer as the file's model was trained with."""

import struct
from pathlib import Path
from typing import NamedTuple

import gguf
import torch
from tokenizers import Regex, normalizers, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, GgufConfig, PretrainedConfig, PreTrainedTokenizerFast

from llamanas.errors import LlamaNasError
from llamanas.models.canonical import HEAD, Checkpoint, check_shapes, expected_shapes
from llamanas.models.families import require_supported

_PLAIN_TYPES = {"F16": torch.float16, "BF16": torch.bfloat16}
_SPECIAL = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
_UNREADABLE = (ValueError, IndexError, KeyError, OSError, OverflowError, struct.error)


class Splitting(NamedTuple):
    """How a BPE tokenizer treats text before it merges pairs, and what its files leave unsaid."""

    pre_tokenizer: pre_tokenizers.PreTokenizer | None
    normalizer: normalizers.Normalizer | None = None
    whole_words: bool = False  # a word that is in the vocabulary is taken without merging
    add_bos: bool = False  # where the file does not say


def _words(digits: str) -> pre_tokenizers.PreTokenizer:
    """Split into contractions, words with one leading sign, numbers, signs and white space, as Llama 3 and Qwen do."""
    pattern = (
        rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


_GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
_LLAMA3 = Splitting(_words(r"\p{N}{1,3}"), whole_words=True, add_bos=True)
# By tokenizer.ggml.pre. What each name means is fixed by llama.cpp (src/llama-vocab.cpp), but for the normalizer, which
# llama.cpp leaves out and Qwen's own tokenizer.json has.
SPLITTINGS = {
    "gpt-2": Splitting(_GPT2),
    "smollm": Splitting(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _GPT2])),
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": Splitting(_words(r"\p{N}"), normalizer=normalizers.NFC()),
}
# One space goes before every text, even one that starts with a space, as sentencepiece does.
_SENTENCEPIECE = Splitting(
    None, normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]), add_bos=True
)


def read_gguf(path: Path, dtype: str) -> Checkpoint:
    """The model of a GGUF file; its header is checked before any weight is read.

    dtype ``auto`` is the type of the weights if they are float16 or bfloat16 throughout, else float32.

    Raises:
        LlamaNasError: an unsupported family or tokenizer, or a file that is damaged or incomplete.
    """
    try:
        reader = gguf.GGUFReader(path)
        fields = {key: _value(reader, key) for key in reader.fields}
    except _UNREADABLE as error:
        raise LlamaNasError(f"{path} is not a whole GGUF file ({error}); fetch it again.") from error
    require_supported({"model_type": fields.get("general.architecture")})
    _require_plain_positions(path, reader, fields)
    tokenizer = _tokenizer(path, fields, _splitting(path, fields))
    config = _config(path, fields)
    _check_tensors(path, reader, config)
    target = _stored_type(reader) if dtype == "auto" else getattr(torch, dtype)
    del reader  # its memory map
    return _load(path, config, target, tokenizer)


def _value(reader: gguf.GGUFReader, key: str) -> object:
    """The value of a key; of the long lists only that they are there."""
    field = reader.fields[key]
    return field.contents() if field.types[0] is not gguf.GGUFValueType.ARRAY else None


def _require_plain_positions(path: Path, reader: gguf.GGUFReader, fields: dict) -> None:
    """Refuse scaled rotary positions, which transformers silently leaves out when it reads a GGUF file."""
    scaling = fields.get(f"{fields['general.architecture']}.rope.scaling.type", "none")
    if scaling != "none" or any(tensor.name == "rope_freqs.weight" for tensor in reader.tensors):
        raise LlamaNasError(
            f"{path} scales its rotary positions, which cannot be read from GGUF; give the model's safetensors folder "
            "or hub id instead."
        )


def _splitting(path: Path, fields: dict) -> Splitting:
    """The splitting that the file's vocabulary was made with.

    Unknown names are refused: another splitting gives other tokens than the model was trained with, which lowers
    every measured accuracy without any sign.
    """
    kind, name = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre")
    if kind == "llama" and fields.get("tokenizer.ggml.add_space_prefix", True):
        return _SENTENCEPIECE
    if kind == "gpt2" and name in SPLITTINGS:
        return SPLITTINGS[name]
    raise LlamaNasError(
        f"{path} has a tokenizer of kind {kind!r} with pre-tokenizer {name!r}; supported are 'llama' with a space "
        f"before the text, and 'gpt2' with one of {', '.join(SPLITTINGS)}. Give the model's safetensors folder instead."
    )


def _config(path: Path, fields: dict) -> PretrainedConfig:
    """The configuration as transformers derives it, with what it leaves out."""
    try:
        config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
    except Exception as error:  # each wrong value has its own exception class in transformers
        raise LlamaNasError(f"{path} does not describe a valid network: {error}") from error
    if head_size := fields.get(f"{fields['general.architecture']}.attention.key_length"):
        config.head_dim = head_size
    config.__dict__.pop("_model_name_or_path", None)
    return config


def _check_tensors(path: Path, reader: gguf.GGUFReader, config: PretrainedConfig) -> None:
    """Refuse a file whose tensors are not exactly those of its network: transformers would fill in random ones."""
    architecture = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}[config.model_type]
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    expected = {
        names.get_name(name, try_suffixes=(".weight", ".bias")) or name: shape
        for name, shape in expected_shapes(config).items()
    }
    check_shapes(str(path), {tensor.name: tuple(map(int, tensor.shape[::-1])) for tensor in reader.tensors}, expected)


def _stored_type(reader: gguf.GGUFReader) -> torch.dtype:
    """The type of the matrices if it is plain and one; norms and biases are float32 in every GGUF file."""
    types = {tensor.tensor_type.name for tensor in reader.tensors if len(tensor.shape) > 1}
    return _PLAIN_TYPES.get(types.pop(), torch.float32) if len(types) == 1 else torch.float32


def _tokenizer(path: Path, fields: dict, splitting: Splitting) -> PreTrainedTokenizerFast:
    """The tokenizer that transformers reads from the file, with the splitting it leaves out.

    Special tokens that the file names are taken from it: transformers 5.17 took the one that begins a text for the one
    that ends it.
    """
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
    except Exception as error:  # tokenizers raises plain Exception for a damaged vocabulary
        raise LlamaNasError(f"the tokenizer in {path} cannot be read: {error}") from error
    for name, key in _SPECIAL.items():
        if (number := fields.get(f"tokenizer.ggml.{key}_token_id")) is not None:
            if number not in range(len(tokenizer)):
                raise LlamaNasError(f"{path} has {name} {number}, beyond its {len(tokenizer)} tokens; fetch it again.")
            setattr(tokenizer, name, tokenizer.convert_ids_to_tokens(number))
    backend = tokenizer.backend_tokenizer
    backend.normalizer, backend.pre_tokenizer = splitting.normalizer, splitting.pre_tokenizer
    backend.model.ignore_merges = splitting.whole_words
    tokenizer.add_bos_token = fields.get("tokenizer.ggml.add_bos_token", splitting.add_bos)
    return tokenizer


def _load(path: Path, config: PretrainedConfig, dtype: torch.dtype, tokenizer: PreTrainedTokenizerFast) -> Checkpoint:
    """The weights under Hugging Face names; transformers undoes the reordering of Llama's queries and keys."""
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            config=config,
            dtype=dtype,
            quantization_config=GgufConfig(dequantize=True),
            local_files_only=True,
        )
    except (ValueError, RuntimeError) as error:
        raise LlamaNasError(f"the weights in {path} cannot be dequantized: {error}") from error
    weights = model.state_dict()
    if config.tie_word_embeddings:
        del weights[HEAD]
    model.config.__dict__.pop("quantization_config", None)
    return Checkpoint(model.config, weights, tokenizer, model.generation_config.to_diff_dict())
