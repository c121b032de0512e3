"""Projections of one input as one matrix, while all weights are trained: half as many products, and fewer weights to
update. Every number of a training is what it is without, but for rounding.
"""

from typing import cast

import torch
from torch import Tensor, nn

from llamanas.models.decoder import Attention, Decoder, GatedMLP
from llamanas.models.fused import silu_times
from llamanas.models.linear import Linear, linear


class JoinedAttention(Attention):
    """An attention whose queries, keys and values are one product."""

    def __init__(self, parts: Attention) -> None:
        nn.Module.__init__(self)
        self.shape = parts.shape
        self.qkv_proj = _linear([torch.cat(of) for of in _weights(parts.q_proj, parts.k_proj, parts.v_proj)])
        self.o_proj = parts.o_proj
        if self.shape.query_key_norm:
            self.q_norm, self.k_norm = parts.q_norm, parts.k_norm

    def project(self, x: Tensor, kv_heads: int) -> tuple[Tensor, ...]:
        if kv_heads == self.shape.kv_heads:
            return self.qkv_proj(x).split(self._sizes, -1)
        layer, rows = self.qkv_proj, self.shape.attention_sizes(kv_heads)
        weights = layer.weight.split(self._sizes)
        biases = [None] * 3 if layer.bias is None else layer.bias.split(self._sizes)
        return tuple(
            linear(x, weight[:size], bias if bias is None else bias[:size])
            for weight, bias, size in zip(weights, biases, rows, strict=True)
        )

    @property
    def _sizes(self) -> tuple[int, int, int]:
        return self.shape.attention_sizes(self.shape.kv_heads)

    def parts(self) -> Attention:
        """The attention with a matrix for each."""
        with torch.device("meta"):
            attention = Attention(self.shape, 0.0)
        weights = zip(*(of.split(self._sizes) for (of,) in _weights(self.qkv_proj)), strict=True)
        attention.q_proj, attention.k_proj, attention.v_proj = (_linear([w.clone() for w in own]) for own in weights)
        attention.o_proj = self.o_proj
        if self.shape.query_key_norm:
            attention.q_norm, attention.k_norm = self.q_norm, self.k_norm
        return attention


class JoinedMLP(GatedMLP):
    """An MLP whose gate and up projection are one product; their rows alternate, so that a narrower one is a prefix."""

    def __init__(self, parts: GatedMLP) -> None:
        nn.Module.__init__(self)
        weights = _weights(parts.gate_proj, parts.up_proj)
        self.gate_up_proj = _linear([torch.stack(of, 1).flatten(0, 1) for of in weights])
        self.down_proj = parts.down_proj

    def channels(self, x: Tensor, width: int) -> Tensor:
        layer = self.gate_up_proj
        bias = layer.bias if layer.bias is None else layer.bias[: 2 * width]
        gate, up = linear(x, layer.weight[: 2 * width], bias).unflatten(-1, (width, 2)).unbind(-1)
        return silu_times(gate, up)

    def parts(self, mlp: GatedMLP) -> GatedMLP:
        """The MLP with a matrix for each, put into ``mlp``."""
        both = _weights(self.gate_up_proj)
        mlp.gate_proj, mlp.up_proj = (_linear([of[0][place::2].clone() for of in both]) for place in (0, 1))
        mlp.down_proj = self.down_proj
        return mlp


def join(decoder: Decoder) -> None:
    """Join the projections of every layer; the weights get other names until they are separated."""
    for layer in decoder.layers:
        layer.self_attn, layer.mlp = JoinedAttention(layer.self_attn), JoinedMLP(layer.mlp)


def separate(decoder: Decoder) -> None:
    """Undo :func:`join`."""
    for layer in decoder.layers:
        with torch.device("meta"):
            mlp = GatedMLP(decoder.shape)
        layer.self_attn = cast(JoinedAttention, layer.self_attn).parts()
        layer.mlp = cast(JoinedMLP, layer.mlp).parts(mlp)


def _weights(*layers: Linear) -> list[list[Tensor]]:
    """The weights of the layers and, where they have them, their biases."""
    kinds = [[layer.weight.detach() for layer in layers]]
    if layers[0].bias is not None:
        kinds.append([layer.bias.detach() for layer in layers])
    return kinds


def _linear(tensors: list[Tensor]) -> Linear:
    """A linear layer with this weight and, where given, bias."""
    outputs, inputs = tensors[0].shape
    with torch.device("meta"):
        layer = Linear(inputs, outputs, bias=len(tensors) > 1)
    for name, tensor in zip(("weight", "bias"), tensors, strict=False):
        setattr(layer, name, nn.Parameter(tensor, requires_grad=False))
    return layer
