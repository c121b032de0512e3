"""One point of the search space, and what it costs, computed without building the network."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

Step = tuple[int, int | None]  # one sub-layer: a layer's attention (None), or its MLP of this width


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

    @cached_property
    def attention_macs(self) -> int:
        """Multiply-accumulates of one layer's four attention projections per token (scores excluded)."""
        return self.hidden_size * (2 * self.query_size + 2 * self.kv_size)

    @cached_property
    def attention_parameters(self) -> int:
        """Parameters of one attention sub-layer, its input norm included."""
        biases = self.attention_bias * (self.query_size + 2 * self.kv_size) + self.output_bias * self.hidden_size
        return self.attention_macs + biases + self.query_key_norm * 2 * self.head_size + self.hidden_size

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
        return Architecture((True,) * self.layers, (self.intermediate_size,) * self.layers)


@dataclass(frozen=True, order=True)
class Architecture:
    """A sub-network: for each layer of the full network, whether its attention stays and how wide its MLP is.

    A width of 0 means no MLP; a layer with neither is dropped.
    """

    attention: tuple[bool, ...]
    intermediate_sizes: tuple[int, ...]

    @classmethod
    def from_row(cls, row: dict) -> "Architecture":
        """The architecture of a table row with columns ``attention`` and ``intermediate_sizes``."""
        return cls(tuple(map(bool, row["attention"])), tuple(map(int, row["intermediate_sizes"])))

    def with_layer(self, layer: int, attention: bool, width: int) -> "Architecture":
        """This architecture with one layer's choice replaced."""
        attentions, widths = list(self.attention), list(self.intermediate_sizes)
        attentions[layer], widths[layer] = attention, width
        return Architecture(tuple(attentions), tuple(widths))

    @cached_property
    def id(self) -> str:
        """Stable identifier: the first 12 hexadecimal digits of the SHA-256 of the layer list."""
        text = ",".join(f"{int(a)}:{w}" for a, w in zip(self.attention, self.intermediate_sizes, strict=True))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def kept_layers(self) -> tuple[int, ...]:
        """Indices in the full network of the layers that are not dropped."""
        return tuple(i for i, (a, w) in enumerate(zip(self.attention, self.intermediate_sizes, strict=True)) if a or w)

    @property
    def depth(self) -> int:
        """Number of layers that are not dropped."""
        return len(self.kept_layers)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The sub-layers that a token passes, in order."""
        layers = enumerate(zip(self.attention, self.intermediate_sizes, strict=True))
        parts = ((layer, [None] * attention + [width] * (width > 0)) for layer, (attention, width) in layers)
        return tuple((layer, part) for layer, present in parts for part in present)

    def parameters(self, shape: ModelShape) -> int:
        """Number of parameters, embeddings counted once when tied."""
        attention = sum(self.attention) * shape.attention_parameters
        return shape.fixed_parameters + attention + sum(map(shape.mlp_parameters, self.intermediate_sizes))

    def macs_per_token(self, shape: ModelShape) -> int:
        """Multiply-accumulates of all matrix products for one token at an empty context, the head included."""
        attention = sum(self.attention) * shape.attention_macs
        head = shape.vocabulary_size * shape.hidden_size
        return head + attention + sum(map(shape.mlp_macs, self.intermediate_sizes))

    def kv_bytes_per_token(self, shape: ModelShape, bytes_per_value: int) -> int:
        """Bytes that one token of context occupies in the key-value cache."""
        return 2 * sum(self.attention) * shape.kv_size * bytes_per_value

    def row(self, shape: ModelShape, bytes_per_parameter: int) -> dict:
        """The columns that describe an architecture in every table."""
        parameters = self.parameters(shape)
        return {
            "architecture": self.id,
            "attention": list(self.attention),
            "intermediate_sizes": list(self.intermediate_sizes),
            "depth": self.depth,
            "parameters": parameters,
            "bytes": parameters * bytes_per_parameter,
            "macs_per_token": self.macs_per_token(shape),
            "latency": None,  # not known from the architecture alone
        }
