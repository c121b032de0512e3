"""The decoder's element-wise parts: one kernel each for inference on a GPU that has Triton, else PyTorch's own steps.

On a GPU the steps of a small network wait for memory: eager PyTorch reads and writes the hidden states about thirty
times in a layer.
"""

import sys
from functools import cache
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor


@cache
def triton_kernels() -> ModuleType | None:
    """The kernels, unless Triton or what it needs is missing."""
    try:
        from llamanas.models import kernels

        kernels.silu_times(*torch.ones(2, 8, device="cuda"))
    except Exception as error:  # no Triton, or no compiler for it: many kinds
        print(f"computing without fused kernels, which is slower: {error!r}", file=sys.stderr)
        return None
    return kernels


def _kernels(x: Tensor) -> ModuleType | None:
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or not x.is_cuda:
        return None
    return triton_kernels()


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Root-mean-square normalization of the last axis, computed in float32 as transformers does."""
    if kernels := _kernels(x):
        return kernels.rms_norm(x, weight, epsilon)
    wide = x.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
    return weight * wide.to(x.dtype)


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Queries or keys [B, T, heads, head size] turned by the rotary angles of their positions."""
    cos, sin = rotation
    if kernels := _kernels(x):
        return kernels.rotate(x, cos, sin)
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat((-right, left), -1) * sin


def silu_times(gate: Tensor, up: Tensor) -> Tensor:
    """The activation of a gated MLP."""
    if kernels := _kernels(gate):
        return kernels.silu_times(gate, up)
    return F.silu(gate) * up
