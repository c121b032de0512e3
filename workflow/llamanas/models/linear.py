"""Matrix products of linear layers; float32 on a CPU goes through oneDNN, which uses any CPU's widest vector units.

PyTorch's own choice, MKL, leaves half of an AMD processor's units idle. The operator is the one that PyTorch's compiler
emits; where it is missing, PyTorch's own choice is taken.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
    plain = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if not (AVAILABLE and plain) or torch.compiler.is_compiling():  # the compiler chooses for itself
        return F.linear(x, weight, bias)
    if weight.stride(1) != 1 or weight.stride(0) != weight.shape[1]:
        weight = weight.contiguous()  # oneDNN has no fast product for some of the columns of a matrix
    if torch.is_grad_enabled():
        return _OneDNN.apply(x, weight, bias)
    return _product(x, weight, bias)


class Linear(nn.Linear):
    """A linear layer that multiplies by :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)
