"""A sub-network as a GGUF file for llama.cpp.

Where all layers are alike, the file has the family's own architecture. Otherwise it is a ``deci``, the one architecture
of llama.cpp whose layers may have MLPs of several widths, and attentions of several numbers of heads or none. What that
leaves out is mended with parts that compute zero (llama.cpp, src/models/deci.cpp):

* a layer with attention and no MLP loses its attention without a word: it gets an MLP of width 32 of zeros;
* a first layer without attention does not load: it gets one attention head of zeros.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from torch import Tensor

from llamanas import llamacpp
from llamanas.architecture import Architecture, ModelShape
from llamanas.artifacts import whole_file
from llamanas.errors import LlamaNasError
from llamanas.export.vocabulary import add_vocabulary
from llamanas.export.weights import SubnetTensors, WeightFile, is_plain
from llamanas.models.decoder import rotary_frequencies
from llamanas.models.families import read_config, shape_of
from llamanas.progress import progress

TYPES = ("F32", "F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M")
OWN = ("F32", "F16", "Q8_0")  # written here; the others by llama.cpp's quantizer
_ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
_ROTATES_PAIRS = ("llama", "deci")  # architectures that rotate neighbouring values, not halves of a head
_ZERO_MLP = 32  # the smallest width that every quantization can store
_FILE_TYPES = {"F32": 0, "F16": 1, "Q8_0": 7}  # enum llama_ftype


class Part(NamedTuple):
    """A tensor of the file: its name, its shape, and how to get it when it is written."""

    name: str
    shape: tuple[int, ...]
    load: Callable[[], Tensor]


def write_gguf(source: Path, architecture: Architecture, destination: Path, kind: str, threads: int = 1) -> None:
    """Write a sub-network of the super-network in ``source`` as a GGUF file with weights of type ``kind``.

    A sliding window becomes the context length, since llama.cpp runs these architectures without one: within it the
    network is the same.

    Raises:
        LlamaNasError: weights or tokenizer missing or unfit, an architecture that llama.cpp does not run, the extra
            ``gguf`` missing where ``kind`` is a K-quant, or no space left on the device.
    """
    if kind in OWN:
        with whole_file(destination) as temporary:
            _write(source, architecture, temporary, kind)
        return
    llamacpp.library()  # before any work, where it is missing
    destination.parent.mkdir(parents=True, exist_ok=True)
    with (
        whole_file(destination) as temporary,
        TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.") as work,
    ):
        _write(source, architecture, Path(work, "F32.gguf"), "F32")
        llamacpp.quantize(Path(work, "F32.gguf"), temporary, kind, threads)


def _write(source: Path, architecture: Architecture, path: Path, kind: str) -> None:
    config = read_config(source / "config.json")
    shape = shape_of(config)
    tensors = SubnetTensors(WeightFile(source / "model.safetensors"), architecture, shape)
    target = gguf_architecture(config, shape, architecture)
    writer = gguf.GGUFWriter(path, target)
    _add_sizes(writer, config, shape, architecture, target)
    writer.add_file_type(_FILE_TYPES[kind])
    add_vocabulary(writer, source, shape.vocabulary_size)
    parts = list(_parts(config, shape, architecture, tensors, target))
    types = [stored_type(part.shape, kind) for part in parts]
    for part, stored in zip(parts, types, strict=True):
        bytes_shape = gguf.quant_shape_to_byte_shape(part.shape, stored) if stored is Type.Q8_0 else part.shape
        dtype = {Type.F32: np.float32, Type.F16: np.float16, Type.Q8_0: np.uint8}[stored]
        size = int(np.prod(bytes_shape)) * np.dtype(dtype).itemsize
        writer.add_tensor_info(part.name, bytes_shape, np.dtype(dtype), size, raw_dtype=stored)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for part, stored in progress(zip(parts, types, strict=True), f"write {kind}", len(parts), "tensor"):
            array = np.ascontiguousarray(part.load().float().numpy())
            writer.write_tensor_data(gguf.quantize(array, stored))
    finally:
        writer.close()


def gguf_architecture(config: dict, shape: ModelShape, architecture: Architecture) -> str:
    """The name of llama.cpp's architecture that runs a sub-network.

    Raises:
        LlamaNasError: there is none.
    """
    plain = is_plain(architecture, shape)
    scaled = bool(_rotary_factors(config, shape))
    if plain and not (scaled and shape.family.startswith("qwen")):
        return _ARCHITECTURES[shape.family]
    if shape.query_key_norm:
        what = "rotary positions that are scaled" if plain else "layers that differ"
        raise LlamaNasError(
            f"llama.cpp has no architecture for a Qwen3 network with {what}. Leave export.gguf empty, or search a "
            "space in which layers are dropped whole; the Hugging Face folder and the ONNX file run."
        )
    return "deci"


def stored_type(shape: tuple[int, ...], kind: str) -> Type:
    """How a tensor is stored: vectors in float32, rows that Q8_0's blocks of 32 do not divide in float16."""
    if len(shape) == 1 or kind == "F32":
        return Type.F32
    return Type.Q8_0 if kind == "Q8_0" and shape[-1] % 32 == 0 else Type.F16


def _add_sizes(
    writer: gguf.GGUFWriter, config: dict, shape: ModelShape, architecture: Architecture, target: str
) -> None:
    """Everything that llama.cpp derives the network from."""
    kept = architecture.kept_layers
    length = config.get("max_position_embeddings", 2048)
    writer.add_name(f"{architecture.id}")
    writer.add_block_count(len(kept))
    writer.add_context_length(min(length, shape.sliding_window or length))
    writer.add_embedding_length(shape.hidden_size)
    writer.add_vocab_size(shape.vocabulary_size)
    heads = [_heads(shape, architecture, number) for number in range(len(kept))]
    widths = [architecture.intermediate_sizes[layer] or _ZERO_MLP for layer in kept]
    if target == "deci":
        writer.add_feed_forward_length(widths)
        writer.add_head_count([queries for queries, _ in heads])
        writer.add_head_count_kv([keys for _, keys in heads])
    else:
        writer.add_feed_forward_length(widths[0])
        writer.add_head_count(shape.heads)
        writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_size)
    writer.add_value_length(shape.head_size)
    writer.add_rope_dimension_count(shape.head_size)
    rope = config.get("rope_parameters") or {}
    writer.add_rope_freq_base(rope.get("rope_theta") or config.get("rope_theta", 10000.0))
    writer.add_layer_norm_rms_eps(config.get("rms_norm_eps", 1e-6))


def _heads(shape: ModelShape, architecture: Architecture, number: int) -> tuple[int, int]:
    """Query and key heads of a kept layer: the first one without attention has one head, of zeros."""
    if heads := architecture.kv_heads[architecture.kept_layers[number]]:
        return heads * shape.group_size, heads
    return (1, 1) if number == 0 else (0, 0)


def _rotary_factors(config: dict, shape: ModelShape) -> list[float]:
    """By what the plain rotary frequencies are divided, or nothing where they are plain."""
    scaled, _ = rotary_frequencies(config, shape)
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = rope.get("rope_theta") or config.get("rope_theta", 10000.0)
    plain, _ = rotary_frequencies({"rope_theta": theta}, shape)
    return [] if torch.equal(scaled, plain) else (plain / scaled).tolist()


def _parts(
    config: dict, shape: ModelShape, architecture: Architecture, tensors: Mapping[str, Tensor], target: str
) -> Iterator[Part]:
    """The tensors of the file, in order."""
    kind = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}[target]
    names = gguf.get_tensor_name_map(kind, architecture.depth)
    for name in tensors:
        stored = names.get_name(name, try_suffixes=(".weight", ".bias")) or name
        yield Part(stored, tuple(tensors[name].shape), partial(_converted, config, shape, tensors, name, target))
    if factors := _rotary_factors(config, shape):
        yield Part("rope_freqs.weight", (len(factors),), partial(torch.tensor, factors))
    first = architecture.kept_layers[0]
    if not architecture.kv_heads[first]:
        yield from _zeros(
            "blk.0.attn_",
            shape.hidden_size,
            {"q": shape.head_size, "k": shape.head_size, "v": shape.head_size},
            "output",
            shape.head_size,
        )
    for number, layer in enumerate(architecture.kept_layers):
        if not architecture.intermediate_sizes[layer]:
            yield from _zeros(
                f"blk.{number}.ffn_", shape.hidden_size, {"gate": _ZERO_MLP, "up": _ZERO_MLP}, "down", _ZERO_MLP
            )


def _zeros(prefix: str, hidden: int, rows: dict[str, int], last: str, columns: int) -> Iterator[Part]:
    """A sub-layer that adds zero: its norm, the matrices that read the stream, and the one that writes it."""
    yield Part(f"{prefix}norm.weight", (hidden,), partial(torch.ones, hidden))
    for name, size in rows.items():
        yield Part(f"{prefix}{name}.weight", (size, hidden), partial(torch.zeros, size, hidden))
    yield Part(f"{prefix}{last}.weight", (hidden, columns), partial(torch.zeros, hidden, columns))


def _converted(config: dict, shape: ModelShape, tensors: Mapping[str, Tensor], name: str, target: str) -> Tensor:
    """A tensor as llama.cpp computes with it: queries and keys in its order of rotated values.

    What a rotary scheme multiplies cosine and sine with is multiplied into the queries.
    """
    tensor = tensors[name]
    queries = ".q_proj." in name
    if not queries and ".k_proj." not in name:
        return tensor
    _, scale = rotary_frequencies(config, shape)
    tensor = tensor.float() * scale**2 if queries else tensor.float()
    if target not in _ROTATES_PAIRS:
        return tensor
    halves = tensor.reshape(-1, 2, shape.head_size // 2, *tensor.shape[1:])
    return halves.transpose(1, 2).reshape(tensor.shape)
