"""A sub-network in PyTorch with a key-value cache of fixed size, for timings: on a GPU, each phase is one CUDA graph.

A decoding step of a small network is some hundred kernels of a few microseconds, which Python cannot launch fast
enough; a graph launches them at once, so that the network is timed and not the interpreter.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from llamanas.models.decoder import rotary_frequencies
from llamanas.models.families import shape_of
from llamanas.models.fused import rms_norm, rotate, silu_times
from llamanas.models.linear import linear

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


class Memory(NamedTuple):
    """What a batch of one size needs: tokens, positions, rotary angles, and a cache of every attention.

    ``tokens`` [batch, prompt] is where the prompt goes, ``following`` [batch, 1] the newest tokens, ``position`` [1]
    their place; ``caches`` hold keys and values [2, batch, KV heads, places, head size]; ``cosine`` and ``sine`` are
    [1, places, 1, head size].
    """

    tokens: Tensor
    following: Tensor
    position: Tensor
    cosine: Tensor
    sine: Tensor
    caches: dict[str, Tensor]


class TorchNetwork:
    """Greedy generation by a sub-network.

    Args:
        config: contents of the full network's config.json.
        tensors: the sub-network's weights by Hugging Face name, its layers numbered from 0; a part that a layer does
            not have has no weights.
        device: torch device.
        dtype: arithmetic, as the name of a torch type.
    """

    def __init__(self, config: dict, tensors: Mapping[str, Tensor], device: str, dtype: str) -> None:
        self.config, self.shape, self.device = config, shape_of(config), torch.device(device)
        self.dtype, self.epsilon = getattr(torch, dtype), config.get("rms_norm_eps", 1e-6)
        self.vocabulary_size = self.shape.vocabulary_size
        self.weights = _side_by_side({name: t.to(self.device, self.dtype) for name, t in tensors.items()})
        if self.shape.tied_head:
            self.weights[HEAD] = self.weights[EMBEDDING]
        layers = {int(name.split(".")[2]) for name in self.weights if name.startswith("model.layers.")}
        self.layers = [f"model.layers.{number}." for number in sorted(layers)]

        self.weight_bytes = sum({t.data_ptr(): t.nbytes for t in self.weights.values()}.values())
        table = 0 if self.shape.tied_head else self.weights[EMBEDDING].nbytes  # of which a step reads a row
        self.bytes_per_step = self.weight_bytes - table
        self.kv_heads = {prefix: self._kv_heads(prefix) for prefix in self.layers}
        self.cache_bytes_per_token = 2 * sum(self.kv_heads.values()) * self.shape.head_size * self.dtype.itemsize
        graphs = " with CUDA graphs" if self.device.type == "cuda" else ""
        self.runtime = f"torch {torch.__version__} {self.device.type.upper()} {dtype}{graphs}"

    def prepare(self, batch: int, prompt_tokens: int, new_tokens: int) -> None:
        """Reserve memory for prompts of this size and, on a GPU, record the two phases."""
        places, shape = prompt_tokens + new_tokens, self.shape
        frequencies, scale = rotary_frequencies(self.config, shape)
        angles = torch.arange(places)[:, None] * frequencies
        angles = torch.cat((angles, angles), -1)[None, :, None].to(self.device)
        self.memory = Memory(
            tokens=torch.zeros(batch, prompt_tokens, dtype=torch.int64, device=self.device),
            following=torch.zeros(batch, 1, dtype=torch.int64, device=self.device),
            position=torch.zeros(1, dtype=torch.int64, device=self.device),
            cosine=(angles.cos() * scale).to(self.dtype),
            sine=(angles.sin() * scale).to(self.dtype),
            caches={
                prefix: torch.zeros((2, batch, heads, places, shape.head_size), device=self.device, dtype=self.dtype)
                for prefix, heads in self.kv_heads.items()
                if heads
            },
        )
        self._prefill, self._step = self._recorded(self._run_prompt), self._recorded(self._run_step)

    def prefill(self, prompt: np.ndarray) -> None:
        """Run a prompt [batch, tokens] and choose the token after it."""
        self.memory.tokens.copy_(torch.from_numpy(prompt))
        self._prefill()
        self._wait()

    def decode(self, steps: int) -> None:
        """Append so many tokens."""
        for _ in range(steps):
            self._step()
        self._wait()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _recorded(self, phase: Callable[[], None]) -> Callable[[], None]:
        """The phase as a CUDA graph; elsewhere the phase itself."""
        if self.device.type != "cuda":
            return phase
        self._wait()
        stream = torch.cuda.Stream(self.device)
        with torch.cuda.stream(stream):
            phase()  # compiles kernels and reserves work spaces, which a recording must not
        self._wait()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            phase()
        return graph.replay

    @torch.inference_mode()
    def _run_prompt(self) -> None:
        memory, length = self.memory, self.memory.tokens.shape[1]
        memory.position.fill_(length - 1)
        hidden = self.hidden(memory.tokens, torch.arange(length, device=self.device))
        self._choose(hidden[:, -1:])

    @torch.inference_mode()
    def _run_step(self) -> None:
        self._choose(self.hidden(self.memory.following, self.memory.position))

    def _choose(self, hidden: Tensor) -> None:
        """Keep the likeliest token after the hidden states [batch, 1, hidden size] of the newest position."""
        self.logits = self.product("lm_head", hidden)
        self.memory.following.copy_(self.logits.argmax(-1))
        self.memory.position.add_(1)

    def hidden(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Normalized hidden states [batch, tokens, hidden size] of tokens at these positions [tokens]."""
        x = self.embed(tokens)
        for prefix in self.layers:
            x = self.layer(prefix, x, positions)
        return self.norm("model.norm", x)

    def embed(self, tokens: Tensor) -> Tensor:
        """What enters the first layer, [batch, tokens, hidden size]."""
        return F.embedding(tokens, self.weights[EMBEDDING])

    def layer(self, prefix: str, x: Tensor, positions: Tensor) -> Tensor:
        """What leaves a layer that ``x`` [batch, tokens, hidden size], at these positions [tokens], enters."""
        if self.kv_heads[prefix]:
            x = x + self._attention(prefix, self.norm(f"{prefix}input_layernorm", x), positions)
        if f"{prefix}mlp.down_proj.weight" in self.weights:
            y = self.norm(f"{prefix}post_attention_layernorm", x)
            gate, up = self.product(f"{prefix}mlp.gate_up_proj", y).chunk(2, -1)
            x = x + self.product(f"{prefix}mlp.down_proj", silu_times(gate, up))
        return x

    def _kv_heads(self, prefix: str) -> int:
        """Key-value heads of a layer's attention, 0 where it has none."""
        output = self.weights.get(f"{prefix}self_attn.o_proj.weight")
        return 0 if output is None else output.shape[1] // (self.shape.group_size * self.shape.head_size)

    def _attention(self, prefix: str, x: Tensor, positions: Tensor) -> Tensor:
        shape, (batch, length, _), cache = self.shape, x.shape, self.memory.caches[prefix]
        name = f"{prefix}self_attn."
        tables = (self.memory.cosine, self.memory.sine)
        cosine, sine = (table.index_select(1, positions).expand(batch, -1, -1, -1) for table in tables)
        sizes = shape.attention_sizes(self.kv_heads[prefix])
        packed = self.product(f"{name}qkv_proj", x).split(sizes, -1)
        q, k, v = (part.reshape(batch, length, -1, shape.head_size) for part in packed)
        if shape.query_key_norm:
            q, k = self.norm(f"{name}q_norm", q), self.norm(f"{name}k_norm", k)
        q, k, v = (t.transpose(1, 2) for t in (rotate(q, (cosine, sine)), rotate(k, (cosine, sine)), v))
        cache[0].index_copy_(2, positions, k)
        cache[1].index_copy_(2, positions, v)
        y = self._attend_to_prompt(q, k, v) if length > 1 else self._attend_to_cache(q, cache)
        return self.product(f"{name}o_proj", y.transpose(1, 2).reshape(batch, length, -1))

    def _attend_to_prompt(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        group, length = self.shape.group_size, q.shape[2]
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        window = self.shape.sliding_window
        if window is None or length <= window:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        near = torch.ones(length, length, dtype=torch.bool, device=q.device).tril().triu(1 - window)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=near)

    def _attend_to_cache(self, q: Tensor, cache: Tensor) -> Tensor:
        """Of one new token: the queries that share keys stand in the place of several tokens, so nothing is copied."""
        batch, heads, _, size = q.shape
        places, position = torch.arange(cache.shape[3], device=q.device), self.memory.position
        visible = places <= position
        if self.shape.sliding_window:
            visible &= places > position - self.shape.sliding_window
        grouped = q.reshape(batch, cache.shape[2], -1, size)
        y = F.scaled_dot_product_attention(grouped, cache[0], cache[1], attn_mask=visible[None, None, None])
        return y.reshape(batch, heads, 1, size)

    def norm(self, name: str, x: Tensor) -> Tensor:
        """``x`` normalized by the norm of this name."""
        return rms_norm(x, self.weights[f"{name}.weight"], self.epsilon)

    def product(self, name: str, x: Tensor) -> Tensor:
        """``x`` through the linear layer of this name."""
        return linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))


def _side_by_side(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights with products of one input joined, as an inference engine has them."""
    for joined, parts in {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}.items():
        for name in [name for name in weights if f".{parts[0]}." in name]:
            tensors = [weights.pop(name.replace(parts[0], part)) for part in parts]
            weights[name.replace(parts[0], joined)] = torch.cat(tensors)
    return weights
