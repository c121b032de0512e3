"""The weights of a sub-network, cut from the super-network's one at a time."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from llamanas.architecture import Architecture, ModelShape
from llamanas.errors import LlamaNasError

_ATTENTION = ("self_attn.", "input_layernorm.")
_ROWS = ("mlp.gate_proj.", "mlp.up_proj.")  # MLP channels are their rows
_COLUMNS = "mlp.down_proj.weight"  # and its columns


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
    channels; what belongs to a dropped part is not there.

    Raises:
        LlamaNasError: the architecture is for another number of layers, or keeps none.
    """

    def __init__(self, tensors: Mapping[str, Tensor], architecture: Architecture, shape: ModelShape) -> None:
        if len(architecture.attention) != shape.layers or not architecture.depth:
            raise LlamaNasError(
                f"an architecture that keeps {architecture.depth} of {len(architecture.attention)} layers cannot be "
                f"cut from a network of {shape.layers}; expected one for this network that keeps at least one layer."
            )
        self._tensors, self._architecture = tensors, architecture
        numbers = {layer: number for number, layer in enumerate(architecture.kept_layers)}
        self._sources: dict[str, tuple[str, int | None]] = {}
        for name in tensors:
            if not name.startswith("model.layers."):
                self._sources[name] = name, None
                continue
            layer, part = int(name.split(".")[2]), name.split(".", 3)[3]
            width = architecture.intermediate_sizes[layer]
            if architecture.attention[layer] if part.startswith(_ATTENTION) else width:
                self._sources[f"model.layers.{numbers[layer]}.{part}"] = name, width

    def __getitem__(self, name: str) -> Tensor:
        source, width = self._sources[name]
        tensor = self._tensors[source]
        if name.endswith(_COLUMNS):
            tensor = tensor[:, :width]
        elif any(part in name for part in _ROWS):
            tensor = tensor[:width]
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

    Channels of zeros add zero to the residual stream, and so do parts of zeros, whatever their norms are (here ones).
    """

    def __init__(self, own: SubnetTensors, larger: SubnetTensors) -> None:
        self._own, self._larger = own, larger

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._own:
            like = self._larger[name]
            return torch.ones_like(like) if name.endswith("norm.weight") else torch.zeros_like(like)
        own = self._own[name]
        if ".mlp." not in name:
            return own
        filled = torch.zeros_like(self._larger[name])
        filled[tuple(slice(size) for size in own.shape)] = own
        return filled

    def __iter__(self) -> Iterator[str]:
        return iter(self._larger)

    def __len__(self) -> int:
        return len(self._larger)


def stored_as(architecture: Architecture, shape: ModelShape, variant: str) -> Architecture:
    """What a folder of a variant has weights of, zeros where the sub-network itself has nothing."""
    if variant == "padded":
        return padded(architecture, shape)
    return begun_with_attention(architecture) if variant == "deci" else architecture


def padded(architecture: Architecture, shape: ModelShape) -> Architecture:
    """The kept layers with all parts and the widest MLP among them."""
    kept = set(architecture.kept_layers)
    width = max(architecture.intermediate_sizes) or shape.intermediate_size
    layers = range(len(architecture.attention))
    return Architecture(tuple(i in kept for i in layers), tuple(width * (i in kept) for i in layers))


def begun_with_attention(architecture: Architecture) -> Architecture:
    """The first kept layer with its attention, without which vLLM's DeciLM does not run; the others as they are."""
    first = architecture.kept_layers[0]
    attention = (there or layer == first for layer, there in enumerate(architecture.attention))
    return Architecture(tuple(attention), architecture.intermediate_sizes)
