"""Matrix products of linear layers in float32, where PyTorch's own choice leaves most of a processor idle.

On a CPU they go through oneDNN, which uses any CPU's widest vector units; MKL leaves half of an AMD processor's idle.
The operator is the one that PyTorch's compiler emits. On GPUs whose TF32 units are many times as fast as the float32
ones, what runs in inference mode takes three products in TF32, far nearer to float32 than one would be.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llamanas.models.fused import triton_kernels

# Compute capabilities of A100, H100 or H200, and B200: there TF32 has 7 to 15 times the rate of float32. On GPUs for
# graphics it has hardly more.
FAST_TF32 = ((8, 0), (9, 0), (10, 0))
ROWS = 1024  # fewer are limited by memory, of which the three products read more


class _OneDNN(torch.autograd.Function):
    """``x`` [..., inputs] times a weight [outputs, inputs] transposed, in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        rows = gradient.reshape(-1, gradient.shape[-1])
        return (
            _product(gradient.contiguous(), weight.t()) if for_x else None,
            _product(rows.t(), x.reshape(-1, x.shape[-1]).t()) if for_weight else None,
            rows.sum(0) if for_bias else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x`` [..., inputs] through a linear layer with weight [outputs, inputs], which may be a view of a larger one."""
    if x.is_cuda:
        return _on_gpu(x, weight, bias)
    plain = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if not (AVAILABLE and plain) or torch.compiler.is_compiling():  # the compiler chooses for itself
        return F.linear(x, weight, bias)
    if weight.stride(1) != 1 or weight.stride(0) != weight.shape[1]:
        weight = weight.contiguous()  # oneDNN has no fast product for some of the columns of a matrix
    if torch.is_grad_enabled():
        return _OneDNN.apply(x, weight, bias)
    return _product(x, weight, bias)


@cache
def _has_fast_tf32(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) in FAST_TF32


def _on_gpu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    plain = x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cuda")
    inference = not torch.compiler.is_compiling() and torch.is_inference_mode_enabled()
    large = plain and inference and x.numel() >= ROWS * x.shape[-1] and _has_fast_tf32(x.device)
    kernels = triton_kernels() if large else None
    if kernels is None:
        return F.linear(x, weight, bias)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        wide_x, wide_weight = kernels.tf32_factors(x, weight)
        return F.linear(wide_x, wide_weight, bias)
    finally:
        torch.set_float32_matmul_precision(before)


class Linear(nn.Linear):
    """A linear layer that multiplies by :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)
