"""A Llama whose layers differ: any of them may have a narrower MLP, fewer heads, or no MLP, or no attention.

The configuration's `per_layer_config` gives the sizes of each layer that are its own and the parts it skips. This file
belongs to an exported model and needs nothing but transformers; its copies for other families differ in the name.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel
from transformers.models.llama.modeling_llama import LlamaDecoderLayer


class HeteroLlamaConfig(LlamaConfig):
    """`per_layer_config` maps a layer's index to `intermediate_size`, to `num_attention_heads` and
    `num_key_value_heads` where it has fewer of them, and to `skip`, a list of "attention" and "mlp".
    """

    model_type = "hetero_llama"
    # Saving and some rotary schemes ask for the whole model's numbers, which are those of the network it was cut from.
    allow_global_per_layer_attribute_access = True


class Nothing(nn.Module):
    """Stands for a part that a layer does not have: it adds zero to the residual stream."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(hidden_states)


class NoAttention(nn.Module):
    """Stands for the attention that a layer does not have."""

    def forward(self, hidden_states: torch.Tensor, **kwargs) -> tuple[torch.Tensor, None]:
        return torch.zeros_like(hidden_states), None


@contextmanager
def alike(config: HeteroLlamaConfig, **values: int) -> Iterator[None]:
    """Make the configuration that of a network whose layers are alike, while transformers' classes are built from it.

    They must share this one object, in which transformers notes the attention implementation.
    """
    hidden = "_heterogeneity_spec"  # where transformers 5 keeps per_layer_config
    saved = {name: config.__dict__[name] for name in (*values, hidden) if name in config.__dict__}
    config.__dict__.pop(hidden, None)
    config.__dict__.update(values)
    try:
        yield
    finally:
        config.__dict__.update(saved)


def layers(config: HeteroLlamaConfig) -> nn.ModuleList:
    """The layers, each with the parts and the width that the configuration gives it."""
    overrides = {int(index): values for index, values in config.to_dict()["per_layer_config"].items()}
    made = nn.ModuleList()
    caches = 0
    for index in range(config.num_hidden_layers):
        skipped = overrides[index].get("skip", [])
        # An MLP that is skipped is replaced below, so that any size does.
        sizes = {"intermediate_size": 1} | {n: v for n, v in overrides[index].items() if n != "skip"}
        with alike(config, **sizes):
            # The key-value cache has an entry per attention, so that its first entry knows how many tokens there were.
            layer: nn.Module = LlamaDecoderLayer(config, caches)
        if "attention" in skipped:
            layer.input_layernorm, layer.self_attn = nn.Identity(), NoAttention()
        else:
            caches += 1
        if "mlp" in skipped:
            layer.post_attention_layernorm, layer.mlp = nn.Identity(), Nothing()
        made.append(layer)
    return made


class HeteroLlamaModel(LlamaModel):
    config_class = HeteroLlamaConfig

    def __init__(self, config: HeteroLlamaConfig) -> None:
        with alike(config, num_hidden_layers=0):
            super().__init__(config)
        self.layers = layers(config)
        self.post_init()


class HeteroLlamaForCausalLM(LlamaForCausalLM):
    config_class = HeteroLlamaConfig

    def __init__(self, config: HeteroLlamaConfig) -> None:
        with alike(config, num_hidden_layers=0):
            super().__init__(config)
        self.model = HeteroLlamaModel(config)
        self.post_init()
