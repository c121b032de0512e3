"""The decoder of the supported families, in which every sub-network is a view of the full network's weights.

Parameter names are Hugging Face's, so that its weight files load as they are. A test compares the logits with
transformers' own classes for every family.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn

from llamanas.architecture import Architecture, ModelShape, SubLayer
from llamanas.errors import LlamaNasError
from llamanas.models.families import read_config, shape_of
from llamanas.models.fused import rms_norm, rotate, silu_times
from llamanas.models.linear import Linear, linear
from llamanas.models.place import Place, Sequence
from llamanas.models.together import pass_together


def elastic_linear(layer: Any, x: Tensor, rows: int | None = None, columns: int | None = None) -> Tensor:
    """``x`` [..., columns] through the first ``rows`` outputs and ``columns`` inputs of a linear layer.

    A layer wrapped by peft's LoRA is sliced together with its adapter, so that all sub-networks share one adapter.
    """
    base = layer.get_base_layer() if hasattr(layer, "get_base_layer") else layer
    bias = base.bias if base.bias is None else base.bias[:rows]
    y = linear(x, base.weight[:rows, :columns], bias)
    if base is not layer and not layer.merged:
        for name in layer.active_adapters:
            low_rank = linear(x, layer.lora_A[name].weight[:, :columns])
            y = y + linear(low_rank, layer.lora_B[name].weight[:rows]) * layer.scaling[name]
    return y


class RMSNorm(nn.Module):
    """Root-mean-square normalization."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.epsilon)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions; a sub-network uses the first of its key-value heads."""

    def __init__(self, shape: ModelShape, epsilon: float) -> None:
        super().__init__()
        self.shape = shape
        self.q_proj = Linear(shape.hidden_size, shape.query_size, bias=shape.attention_bias)
        self.k_proj = Linear(shape.hidden_size, shape.kv_size, bias=shape.attention_bias)
        self.v_proj = Linear(shape.hidden_size, shape.kv_size, bias=shape.attention_bias)
        self.o_proj = Linear(shape.query_size, shape.hidden_size, bias=shape.output_bias)
        if shape.query_key_norm:
            self.q_norm = RMSNorm(shape.head_size, epsilon)
            self.k_norm = RMSNorm(shape.head_size, epsilon)

    def project(self, x: Tensor, kv_heads: int) -> tuple[Tensor, ...]:
        """Queries, keys and values [B, T, their size] of so many key-value heads."""
        layers = zip((self.q_proj, self.k_proj, self.v_proj), self.shape.attention_sizes(kv_heads), strict=True)
        return tuple(elastic_linear(layer, x, rows=rows) for layer, rows in layers)

    def forward(self, x: Tensor, place: Place, kv_heads: int) -> Tensor:
        y = self.attended(x, place, kv_heads)
        return elastic_linear(self.o_proj, y, columns=y.shape[-1])

    def attended(self, x: Tensor, place: Place, kv_heads: int) -> Tensor:
        """What the query heads of so many key-value heads gather, side by side [B, T, their size]."""
        batch, length, _ = x.shape
        q, k, v = (part.unflatten(-1, (-1, self.shape.head_size)) for part in self.project(x, kv_heads))
        if self.shape.query_key_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        group = self.shape.group_size
        q, k = rotate(q, place.rotation), rotate(k, place.rotation)
        if place.bounds is not None:
            k, v = k.repeat_interleave(group, 2), v.repeat_interleave(group, 2)
            q, k, v = q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)
            limits = place.bounds, place.bounds, place.longest, place.longest
            window = (self.shape.sliding_window - 1 if self.shape.sliding_window else -1), 0
            y = cast(Tensor, varlen_attn(q.to(v.dtype), k.to(v.dtype), v, *limits, window_size=window))
            return y.reshape(batch, length, -1)
        q, k, v, visible = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), place.visible
        shared = group > 1 and q.is_cuda and q.dtype != torch.float32  # only there a fast kernel shares keys by itself
        if group > 1 and not shared:
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, is_causal=visible is None, enable_gqa=shared)
        return y.transpose(1, 2).reshape(batch, length, -1)


class GatedMLP(nn.Module):
    """SwiGLU MLP; a sub-network uses the first ``width`` of its channels."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.gate_proj = Linear(shape.hidden_size, shape.intermediate_size, bias=shape.mlp_bias)
        self.up_proj = Linear(shape.hidden_size, shape.intermediate_size, bias=shape.mlp_bias)
        self.down_proj = Linear(shape.intermediate_size, shape.hidden_size, bias=shape.mlp_bias)

    def channels(self, x: Tensor, width: int) -> Tensor:
        """Activations [..., width] of the intermediate channels."""
        gate, up = (elastic_linear(layer, x, rows=width) for layer in (self.gate_proj, self.up_proj))
        return silu_times(gate, up)

    def forward(self, x: Tensor, width: int) -> Tensor:
        return elastic_linear(self.down_proj, self.channels(x, width), columns=width)


class Layer(nn.Module):
    """One decoder layer, each of its two parts optional."""

    def __init__(self, shape: ModelShape, epsilon: float) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.hidden_size, epsilon)
        self.self_attn = Attention(shape, epsilon)
        self.post_attention_layernorm = RMSNorm(shape.hidden_size, epsilon)
        self.mlp = GatedMLP(shape)

    def forward(self, x: Tensor, place: Place, part: SubLayer) -> Tensor:
        """``x`` after one sub-layer."""
        if part.kind == "attention":
            return x + self.self_attn(self.input_layernorm(x), place, part.size)
        return x + self.mlp(self.post_attention_layernorm(x), part.size)


class Trunk(nn.Module):
    """Embedding, layers and final norm, under the names of a Hugging Face checkpoint."""

    def __init__(self, shape: ModelShape, epsilon: float) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary_size, shape.hidden_size)
        self.layers = nn.ModuleList(Layer(shape, epsilon) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.hidden_size, epsilon)


class Decoder(nn.Module):
    """A super-network: runs any of its sub-networks without copying a weight."""

    frequencies: Tensor

    def __init__(self, config: dict) -> None:
        super().__init__()
        self.config, self.shape = config, shape_of(config)
        self.model = Trunk(self.shape, config.get("rms_norm_eps", 1e-6))
        self.lm_head = Linear(self.shape.hidden_size, self.shape.vocabulary_size, bias=False)
        if self.shape.tied_head:
            self.lm_head.weight = self.model.embed_tokens.weight
        with torch.device("cpu"):  # real numbers even while the weights are built without data
            frequencies, self.rotation_scale = rotary_frequencies(config, self.shape)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def place(self, batch: Sequence) -> Place:
        """What the attentions ask for in this batch."""
        return Place(self.rotation(batch.positions), self.visible(batch), batch.bounds, batch.longest)

    @property
    def layers(self) -> list[Layer]:
        """The layers of the full network."""
        return list(cast(Iterable[Layer], self.model.layers))

    def rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine [B, T, 1, head size] of the rotary angles at these positions."""
        angles = positions[..., None].float() * self.frequencies
        angles = torch.cat((angles, angles), -1)[:, :, None]
        dtype = self.model.norm.weight.dtype
        return (angles.cos() * self.rotation_scale).to(dtype), (angles.sin() * self.rotation_scale).to(dtype)

    def visible(self, batch: Sequence) -> Tensor | None:
        """The batch's mask, narrowed to the sliding window where the family has one that the batch exceeds."""
        window, length = self.shape.sliding_window, batch.tokens.shape[1]
        if window is None or batch.bounds is not None or length <= window:
            return batch.visible
        near = batch.positions[:, None, :, None] - batch.positions[:, None, None, :] < window
        order = torch.ones(length, length, dtype=torch.bool, device=near.device).tril()
        return near & (order if batch.visible is None else batch.visible)

    def hidden(
        self, batch: Sequence, architecture: Architecture | None = None, call: Callable[..., Tensor] = Layer.__call__
    ) -> Tensor:
        """Final normalized hidden states [B, T, hidden size] of a sub-network (default: the full network).

        ``call`` computes one sub-layer; training gives a compiled one, or one that keeps no activations.
        """
        x, place = self.model.embed_tokens(batch.tokens), self.place(batch)
        (x,) = pass_together(x, place, self.layers, [architecture or self.shape.full], call)
        return self.model.norm(x)

    def hidden_at(
        self, batch: Sequence, rows: Tensor, architectures: list[Architecture], call: Callable[..., Tensor]
    ) -> Tensor:
        """Final normalized hidden states [architectures, N, hidden size] at N flattened positions of the batch."""
        x, place = self.model.embed_tokens(batch.tokens), self.place(batch)
        states = pass_together(x, place, self.layers, architectures, call)
        # Chosen before they are normalized, by index_select, whose gradient does not sort the rows as an index's does.
        return self.model.norm(torch.stack([x.flatten(0, 1).index_select(0, rows) for x in states]))

    def forward(self, batch: Sequence, architecture: Architecture | None = None) -> Tensor:
        """Logits [B, T, vocabulary size] of a sub-network."""
        return self.lm_head(self.hidden(batch, architecture))


def rotary_frequencies(config: dict, shape: ModelShape) -> tuple[Tensor, float]:
    """Angular frequency [head size / 2] of each rotary pair, and the scale of cosine and sine.

    The plain scheme is computed here; scaled ones (linear, llama3, yarn) come from transformers.

    Raises:
        LlamaNasError: a scheme whose frequencies change with the length of the text.
    """
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        theta = rope.get("rope_theta") or config.get("rope_theta", 10000.0)
        return 1.0 / theta ** (torch.arange(0, shape.head_size, 2, dtype=torch.int64).float() / shape.head_size), 1.0
    if kind not in ("linear", "llama3", "yarn"):
        raise LlamaNasError(f"rope type {kind!r} is not supported; supported are default, linear, llama3 and yarn.")
    from transformers import AutoConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    settings = AutoConfig.for_model(**config)
    return ROPE_INIT_FUNCTIONS[kind](settings, torch.device("cpu"))


def load_decoder(folder: str | Path, device: str = "cpu", dtype: str = "float32") -> Decoder:
    """The decoder of a folder with config.json and model.safetensors, in evaluation mode.

    Raises:
        LlamaNasError: a file is missing or truncated, or a tensor is missing or of the wrong shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    with torch.device("meta"):
        decoder = Decoder(read_config(folder / "config.json"))
    try:
        weights = load_file(folder / "model.safetensors", device=device)
    except (OSError, SafetensorError) as error:
        raise LlamaNasError(f"cannot read {folder / 'model.safetensors'}: {error}. Delete it and run again.") from error
    for name in list(weights):  # one by one, so that no second whole copy is in memory
        weights[name] = weights[name].to(getattr(torch, dtype))
    if decoder.shape.tied_head:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    try:
        decoder.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise LlamaNasError(f"the weights in {folder} do not fit its config.json: {error}") from error
    if decoder.shape.tied_head:
        decoder.lm_head.weight = decoder.model.embed_tokens.weight
    decoder.frequencies = decoder.frequencies.to(device)
    return decoder.requires_grad_(False).eval()


def tensors_to_save(decoder: Decoder) -> dict[str, Tensor]:
    """The weights under Hugging Face names, a tied head stored once."""
    state = decoder.state_dict()
    if decoder.shape.tied_head:
        del state["lm_head.weight"]
    return state
