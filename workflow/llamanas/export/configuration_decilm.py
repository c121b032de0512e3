"""The configuration of a network whose layers differ, as vLLM's own `DeciLMForCausalLM` reads it.

This file belongs to an exported model and needs nothing but transformers.
"""

import json
from collections.abc import Sequence
from typing import Any

from transformers import LlamaConfig


class Block(dict):
    """An object of config.json whose values are attributes as well."""

    def __getattr__(self, name: str) -> object:
        if name not in self:
            raise AttributeError(name)
        return self[name]


class DeciLMConfig(LlamaConfig):
    """`block_configs` tells of each layer's `attention` and `ffn` whether it is a `no_op`, and how large otherwise."""

    model_type = "nemotron-nas"

    def __init__(self, block_configs: Sequence[dict] = (), **settings: Any) -> None:
        super().__init__(**settings)
        self.block_configs = json.loads(json.dumps(block_configs), object_hook=Block)
