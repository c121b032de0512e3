"""One point of the search space, and what it costs, computed without building the network."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple


class SubLayer(NamedTuple):
    """A sub-layer: an ``attention`` of so many key-value heads, or an ``mlp`` of so many channels."""

    kind: str
    size: int


Step = tuple[int, SubLayer]  # a layer of the full network, and one of its sub-layers


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a full network; everything that costs and spaces are computed from.

    ``attention_bias`` is for q, k and v; ``output_bias`` for the attention's output projection; ``query_key_norm``
    is Qwen3's normalization of each head; ``sliding_window`` is the attention span in tokens, or None.
    """

    family: str
    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary_size: int
    tied_head: bool
    attention_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    query_key_norm: bool = False
    sliding_window: int | None = None

    @property
    def query_size(self) -> int:
        return self.heads * self.head_size

    @property
    def kv_size(self) -> int:
        return self.kv_heads * self.head_size

    @property
    def group_size(self) -> int:
        """Query heads that share one key-value head; they stay or go with it."""
        return self.heads // self.kv_heads

    def attention_sizes(self, kv_heads: int) -> tuple[int, int, int]:
        """Values per token of the queries, keys and values of an attention of so many key-value heads."""
        size = kv_heads * self.head_size
        return self.group_size * size, size, size

    def attention_macs(self, kv_heads: int) -> int:
        """Multiply-accumulates of the four projections of one such attention per token (scores excluded)."""
        queries, keys, values = self.attention_sizes(kv_heads)
        return self.hidden_size * (2 * queries + keys + values)

    def attention_parameters(self, kv_heads: int) -> int:
        """Parameters of one such attention sub-layer, its input norm included; 0 for no heads."""
        if kv_heads == 0:
            return 0
        biases = self.attention_bias * sum(self.attention_sizes(kv_heads)) + self.output_bias * self.hidden_size
        norms = self.query_key_norm * 2 * self.head_size + self.hidden_size
        return self.attention_macs(kv_heads) + biases + norms

    def mlp_macs(self, intermediate_size: int) -> int:
        """Multiply-accumulates of one gated MLP of this width per token."""
        return 3 * self.hidden_size * intermediate_size

    def mlp_parameters(self, intermediate_size: int) -> int:
        """Parameters of one MLP sub-layer of this width, its input norm included; 0 for width 0."""
        if intermediate_size == 0:
            return 0
        biases = self.mlp_bias * (2 * intermediate_size + self.hidden_size)
        return self.mlp_macs(intermediate_size) + biases + self.hidden_size

    @property
    def fixed_parameters(self) -> int:
        """Parameters no sub-network can drop: embedding, head unless tied to it, final norm."""
        tables = 1 if self.tied_head else 2
        return tables * self.vocabulary_size * self.hidden_size + self.hidden_size

    @property
    def full(self) -> "Architecture":
        """The architecture of the full network."""
        return Architecture((self.kv_heads,) * self.layers, (self.intermediate_size,) * self.layers)


@dataclass(frozen=True, order=True)
class Architecture:
    """A sub-network: for each layer of the full network, how many key-value heads it has and how wide its MLP is.

    Key-value heads come with the query heads that share them; none means no attention, and a width of 0 no MLP. A layer
    with neither is dropped.
    """

    kv_heads: tuple[int, ...]
    intermediate_sizes: tuple[int, ...]

    @classmethod
    def from_row(cls, row: dict) -> "Architecture":
        """The architecture of a table row with columns ``kv_heads`` and ``intermediate_sizes``."""
        return cls(tuple(map(int, row["kv_heads"])), tuple(map(int, row["intermediate_sizes"])))

    @cached_property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Key-value heads and MLP width of each layer of the full network."""
        return tuple(zip(self.kv_heads, self.intermediate_sizes, strict=True))

    def with_layer(self, layer: int, kv_heads: int, width: int) -> "Architecture":
        """This architecture with one layer's choice replaced."""
        layers = [*self.sizes[:layer], (kv_heads, width), *self.sizes[layer + 1 :]]
        return Architecture(*map(tuple, zip(*layers, strict=True)))

    @cached_property
    def id(self) -> str:
        """Stable identifier: the first 12 hexadecimal digits of the SHA-256 of the layer list."""
        text = ",".join(f"{heads}:{width}" for heads, width in self.sizes)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def kept_layers(self) -> tuple[int, ...]:
        """Indices in the full network of the layers that are not dropped."""
        return tuple(index for index, layer in enumerate(self.sizes) if any(layer))

    @property
    def depth(self) -> int:
        """Number of layers that are not dropped."""
        return len(self.kept_layers)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The sub-layers that a token passes, in order."""
        parts = ((index, zip(("attention", "mlp"), sizes, strict=True)) for index, sizes in enumerate(self.sizes))
        return tuple((index, SubLayer(kind, size)) for index, both in parts for kind, size in both if size)

    def parameters(self, shape: ModelShape) -> int:
        """Number of parameters, embeddings counted once when tied."""
        attention = sum(map(shape.attention_parameters, self.kv_heads))
        return shape.fixed_parameters + attention + sum(map(shape.mlp_parameters, self.intermediate_sizes))

    def macs_per_token(self, shape: ModelShape) -> int:
        """Multiply-accumulates of all matrix products for one token at an empty context, the head included."""
        attention = sum(map(shape.attention_macs, self.kv_heads))
        head = shape.vocabulary_size * shape.hidden_size
        return head + attention + sum(map(shape.mlp_macs, self.intermediate_sizes))

    def kv_bytes_per_token(self, shape: ModelShape, bytes_per_value: int) -> int:
        """Bytes that one token of context occupies in the key-value cache."""
        return 2 * sum(self.kv_heads) * shape.head_size * bytes_per_value

    def row(self, shape: ModelShape, bytes_per_parameter: int) -> dict:
        """The columns that describe an architecture in every table."""
        parameters = self.parameters(shape)
        return {
            "architecture": self.id,
            "kv_heads": list(self.kv_heads),
            "intermediate_sizes": list(self.intermediate_sizes),
            "depth": self.depth,
            "parameters": parameters,
            "bytes": parameters * bytes_per_parameter,
            "macs_per_token": self.macs_per_token(shape),
            "latency": None,  # not known from the architecture alone
        }
