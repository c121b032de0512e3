"""A sub-network as an ONNX graph with key-value cache, written straight from its weights.

Tracing a PyTorch module takes a minute and several times the memory. The graph uses ONNX Runtime's fused operators
(GroupQueryAttention with rotary positions, SkipSimplifiedLayerNormalization), the layout in which it decodes fastest.

Inputs: ``input_ids`` [batch, sequence]; ``attention_mask`` [batch, total], ones for the past and new tokens of a row,
which must be padded on the right; ``past_key_values.N.key`` and ``.value`` [batch, KV heads, past, head size] of the
N-th layer with attention; optionally ``logits_to_keep``, the number of last positions whose logits are computed (0, the
default: all). Outputs: ``logits`` [batch, kept, vocabulary]; ``present.N.key`` and ``.value``, with the new tokens.
"""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from llamanas.architecture import Architecture, ModelShape
from llamanas.export.files import save_network
from llamanas.export.graph import FUSED, Graph
from llamanas.export.weights import SubnetTensors, WeightFile
from llamanas.models.decoder import rotary_frequencies
from llamanas.models.families import read_config, shape_of

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
END = 2**62  # beyond any position


def write_onnx(source: Path, architecture: Architecture, destination: Path) -> None:
    """Write a sub-network of the super-network in ``source`` as ``model.onnx`` and ``model.onnx.data``, in float32.

    Raises:
        LlamaNasError: weights missing or truncated, an unsupported network, or no space left on the device.
    """
    config = read_config(source / "config.json")
    shape = shape_of(config)
    tensors = SubnetTensors(WeightFile(source / "model.safetensors"), architecture, shape)
    builder = _Builder(config, shape, tensors)
    for number, layer in enumerate(architecture.kept_layers):
        prefix, (heads, width) = f"model.layers.{number}.", architecture.sizes[layer]
        if heads:
            builder.attention(prefix, heads)
        if width:
            builder.mlp(prefix)
    builder.head()
    save_network(builder.graph.model(f"{shape.family}_{architecture.id}"), destination / "model.onnx")


class _Builder:
    """Adds one part of the network after the other.

    ``stream`` [batch, sequence, hidden size] is the residual stream, ``update`` what is still to be added to it.
    """

    def __init__(self, config: dict, shape: ModelShape, tensors: SubnetTensors) -> None:
        self.config, self.shape, self.tensors, self.graph = config, shape, tensors, Graph()
        self.epsilon = config.get("rms_norm_eps", 1e-6)
        self.present: list[tuple[int, list[ir.Value]]] = []  # of each attention its key-value heads, and its cache
        ids = self.graph.input("input_ids", ["batch", "sequence"], ir.DataType.INT64)
        mask = self.graph.input("attention_mask", ["batch", "total"], ir.DataType.INT64)
        self.keep = self.graph.optional_input("logits_to_keep", np.zeros(1, np.int64))
        self.lengths = self.cache_lengths(mask)
        self.rotation = self.rotary_tables()
        table = self.weight(EMBEDDING, [shape.vocabulary_size, shape.hidden_size])
        self.stream = self.graph.op("Gather", table, ids)
        self.update: ir.Value | None = None

    def cache_lengths(self, mask: ir.Value) -> list[ir.Value]:
        """What GroupQueryAttention asks for: the last place of each row [batch], and the number of places."""
        op, constant = self.graph.op, self.graph.constant
        lengths = op("ReduceSum", mask, constant("axis_1", np.array([1])), keepdims=0)
        last = op("Sub", lengths, constant("one", np.array(1)))
        total = op("Gather", op("Shape", mask), constant("index_1", np.array(1)))
        return [op("Cast", value, to=ir.DataType.INT32) for value in (last, total)]

    def rotary_tables(self) -> list[ir.Value]:
        """Cosine and sine [positions, head size / 2] of the rotary angles."""
        frequencies, scale = rotary_frequencies(self.config, self.shape)
        angles = torch.arange(self.config.get("max_position_embeddings", 2048))[:, None] * frequencies
        tables = {"cosine": lambda: angles.cos() * scale, "sine": lambda: angles.sin() * scale}
        return [self.graph.weight(f"rotary.{name}", list(angles.shape), load) for name, load in tables.items()]

    def weight(self, name: str, sizes: list[int]) -> ir.Value:
        return self.graph.weight(name, sizes, lambda: self.tensors[name])

    def linear(self, x: ir.Value, name: str, parts: list[str]) -> ir.Value:
        """``x`` through one linear layer, or through several side by side as one product."""
        rows = sum(self.tensors[f"{part}.weight"].shape[0] for part in parts)
        columns = self.tensors[f"{parts[0]}.weight"].shape[1]

        def joined(kind: str) -> Tensor:
            return torch.cat([self.tensors[f"{part}.{kind}"] for part in parts])

        y = self.graph.op("MatMul", x, self.graph.weight(f"{name}.weight", [columns, rows], lambda: joined("weight").T))
        if f"{parts[0]}.bias" in self.tensors:
            y = self.graph.op("Add", y, self.graph.weight(f"{name}.bias", [rows], lambda: joined("bias")))
        return y

    def normalized(self, name: str) -> ir.Value:
        """The residual stream, brought up to date and normalized."""
        weight = self.weight(name, [self.shape.hidden_size])
        if self.update is None:
            return self.norm(self.stream, weight)
        kind, inputs = "SkipSimplifiedLayerNormalization", (self.stream, self.update, weight)
        y, _, _, self.stream = self.graph.fused(kind, 4, *inputs, epsilon=self.epsilon)
        self.update = None
        return y

    def norm(self, x: ir.Value, weight: ir.Value) -> ir.Value:
        return self.graph.op("SimplifiedLayerNormalization", x, weight, axis=-1, epsilon=self.epsilon, stash_type=1)

    def attention(self, prefix: str, kv_heads: int) -> None:
        name, shape = f"{prefix}self_attn.", self.shape
        x = self.normalized(f"{prefix}input_layernorm.weight")
        packed = self.linear(x, f"{name}qkv_proj", [f"{name}{part}_proj" for part in "qkv"])
        qkv = self.head_norms(packed, name, kv_heads) if shape.query_key_norm else (packed, None, None)
        sizes: list[int | str] = ["batch", kv_heads, "past", shape.head_size]
        number = len(self.present)
        past = [self.graph.input(f"past_key_values.{number}.{part}", sizes) for part in ("key", "value")]
        attributes = {"num_heads": kv_heads * shape.group_size, "kv_num_heads": kv_heads, "do_rotary": 1}
        if shape.sliding_window:
            attributes["local_window_size"] = shape.sliding_window
        inputs = (*qkv, *past, *self.lengths, *self.rotation)
        y, *present = self.graph.fused("GroupQueryAttention", 3, *inputs, **attributes)
        self.present.append((kv_heads, present))
        self.update = self.linear(y, f"{name}o_proj", [f"{name}o_proj"])

    def head_norms(self, packed: ir.Value, name: str, kv_heads: int) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Queries and keys of ``packed``, each head normalized, and the values, all [batch, sequence, size]."""
        op, constant, shape = self.graph.op, self.graph.constant, self.shape
        sizes = constant(f"query_key_value_sizes_{kv_heads}", np.array(shape.attention_sizes(kv_heads)))
        q, k, v = self.graph.split(packed, sizes, 3)
        by_head, flat = (
            constant("by_head", np.array([0, 0, -1, shape.head_size])),
            constant("flat", np.array([0, 0, -1])),
        )
        weights = [self.weight(f"{name}{part}_norm.weight", [shape.head_size]) for part in "qk"]
        heads = [self.norm(op("Reshape", x, by_head), weight) for x, weight in zip((q, k), weights, strict=True)]
        return op("Reshape", heads[0], flat), op("Reshape", heads[1], flat), v

    def mlp(self, prefix: str) -> None:
        x = self.normalized(f"{prefix}post_attention_layernorm.weight")
        gate, up, down = (f"{prefix}mlp.{part}_proj" for part in ("gate", "up", "down"))
        gated = self.linear(x, gate, [gate])
        gated = self.graph.op("Mul", gated, self.graph.op("Sigmoid", gated))
        self.update = self.linear(self.graph.op("Mul", gated, self.linear(x, up, [up])), down, [down])

    def head(self) -> None:
        """Logits of the last ``logits_to_keep`` positions, and all outputs; a tied head reads the embedding's table."""
        op, constant, shape = self.graph.op, self.graph.constant, self.shape
        x = self.normalized("model.norm.weight")
        x = op("Slice", x, op("Neg", self.keep), constant("end", np.array([END])), constant("axis_1", np.array([1])))
        if shape.tied_head:
            logits = op("FusedMatMul", x, self.graph.weights[EMBEDDING], domain=FUSED, transB=1)
        else:
            sizes = [shape.hidden_size, shape.vocabulary_size]
            logits = op("MatMul", x, self.graph.weight(HEAD, sizes, lambda: self.tensors[HEAD].T))
        self.graph.output("logits", logits, ["batch", "kept", shape.vocabulary_size])
        for number, (heads, values) in enumerate(self.present):
            for name, value in zip(("key", "value"), values, strict=True):
                self.graph.output(f"present.{number}.{name}", value, ["batch", heads, "total", shape.head_size])
