"""The weights of a sub-network, cut from the super-network's one at a time."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from llamanas.architecture import Architecture, ModelShape
from llamanas.errors import LlamaNasError

_ATTENTION = ("self_attn.", "input_layernorm.")
_COLUMNS = ("mlp.down_proj.weight", "self_attn.o_proj.weight")  # what a part gathers is read by their columns
_ROWS = ("gate_proj.", "up_proj.", "q_proj.", "k_proj.", "v_proj.")  # and written by their rows


class WeightFile(Mapping[str, Tensor]):
    """The tensors of a safetensors file by name, mapped from the file when they are asked for.

    Raises:
        LlamaNasError: the file is missing or truncated.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = safe_open(path, framework="pt")
        except (OSError, SafetensorError) as error:
            raise LlamaNasError(f"cannot read the weights {path}: {error}. Delete it and run again.") from error

    def __getitem__(self, name: str) -> Tensor:
        return self._file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.keys())

    def __len__(self) -> int:
        return len(self._file.keys())


class SubnetTensors(Mapping[str, Tensor]):
    """The tensors of a sub-network by Hugging Face name, its layers numbered from 0.

    Each is cut from the full network's when it is asked for, and contiguous: an MLP of width w consists of the first w
    channels, an attention of n key-value heads of the first n with their query heads; what belongs to a dropped part is
    not there.

    Raises:
        LlamaNasError: the architecture is for another number of layers, or keeps none.
    """

    def __init__(self, tensors: Mapping[str, Tensor], architecture: Architecture, shape: ModelShape) -> None:
        if len(architecture.sizes) != shape.layers or not architecture.depth:
            raise LlamaNasError(
                f"an architecture that keeps {architecture.depth} of {len(architecture.sizes)} layers cannot be "
                f"cut from a network of {shape.layers}; expected one for this network that keeps at least one layer."
            )
        self._tensors = tensors
        numbers = {layer: number for number, layer in enumerate(architecture.kept_layers)}
        self._sources: dict[str, tuple[str, int | None]] = {}
        for name in tensors:
            if not name.startswith("model.layers."):
                self._sources[name] = name, None
                continue
            layer, part = int(name.split(".")[2]), name.split(".", 3)[3]
            heads, width = architecture.sizes[layer]
            if heads if part.startswith(_ATTENTION) else width:
                queries, keys, values = shape.attention_sizes(heads)
                sizes = {"q_proj": queries, "k_proj": keys, "v_proj": values, "o_proj": queries}
                size = sizes.get(part.split(".")[1], width)
                self._sources[f"model.layers.{numbers[layer]}.{part}"] = name, size

    def __getitem__(self, name: str) -> Tensor:
        source, size = self._sources[name]
        tensor = self._tensors[source]
        if name.endswith(_COLUMNS):
            tensor = tensor[:, :size]
        elif any(part in name for part in _ROWS):
            tensor = tensor[:size]
        # A mere view would keep the whole tensor alive, and safetensors stores no views.
        whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.itemsize
        return tensor if whole and tensor.is_contiguous() else tensor.clone(memory_format=torch.contiguous_format)

    def __contains__(self, name: object) -> bool:
        return name in self._sources

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


class PaddedTensors(Mapping[str, Tensor]):
    """The tensors of a sub-network in the shapes of a larger one of as many layers: zeros where it has nothing.

    Channels and heads of zeros add zero to the residual stream, and so do parts of zeros, whatever their norms are
    (here ones).
    """

    def __init__(self, own: SubnetTensors, larger: SubnetTensors) -> None:
        self._own, self._larger = own, larger

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._own:
            like = self._larger[name]
            return torch.ones_like(like) if name.endswith("norm.weight") else torch.zeros_like(like)
        own = self._own[name]
        if "_proj." not in name:
            return own
        filled = torch.zeros_like(self._larger[name])
        filled[tuple(slice(size) for size in own.shape)] = own
        return filled

    def __iter__(self) -> Iterator[str]:
        return iter(self._larger)

    def __len__(self) -> int:
        return len(self._larger)


def is_plain(architecture: Architecture, shape: ModelShape) -> bool:
    """Whether the kept layers are alike and have all heads and an MLP, so that the family's own classes run them."""
    alike = {architecture.sizes[layer] for layer in architecture.kept_layers}
    return {heads for heads, _ in alike} == {shape.kv_heads} and len(alike) == 1 and all(width for _, width in alike)


def stored_as(architecture: Architecture, shape: ModelShape, variant: str) -> Architecture:
    """What a folder of a variant has weights of, zeros where the sub-network itself has nothing."""
    if variant == "padded":
        return padded(architecture, shape)
    return with_whole_attentions(architecture, shape) if variant == "deci" else architecture


def padded(architecture: Architecture, shape: ModelShape) -> Architecture:
    """The kept layers with all parts and the widest MLP among them."""
    kept = set(architecture.kept_layers)
    width = max(architecture.intermediate_sizes) or shape.intermediate_size
    stays = [layer in kept for layer in range(shape.layers)]
    return Architecture(*(tuple(size * stay for stay in stays) for size in (shape.kv_heads, width)))


def with_whole_attentions(architecture: Architecture, shape: ModelShape) -> Architecture:
    """Attentions with all their heads, and one in the first kept layer, as vLLM's DeciLM wants them."""
    first = architecture.kept_layers[0]
    heads = (shape.kv_heads if own or layer == first else 0 for layer, own in enumerate(architecture.kv_heads))
    return Architecture(tuple(heads), architecture.intermediate_sizes)
