"""Triton kernels for inference on a GPU: each reads and writes its data once, in float32 inside."""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _rms_norm(x, weight, y, size, epsilon, BLOCK: tl.constexpr):  # noqa: N803 - Triton's constants are in capitals
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < size
    values = tl.load(x + row * size + columns, mask=inside, other=0.0).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(values * values, 0) / size + epsilon)
    weights = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(y + row * size + columns, (values * scale * weights).to(y.dtype.element_ty), mask=inside)


@triton.jit
def _rotate(x, cos, sin, y, heads, half, HEADS: tl.constexpr, HALF: tl.constexpr):  # noqa: N803
    token = tl.program_id(0).to(tl.int64)
    head, column = tl.arange(0, HEADS)[:, None], tl.arange(0, HALF)[None, :]
    inside = (head < heads) & (column < half)
    start = token * heads * half * 2
    place = start + head * half * 2 + column
    left = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    right = tl.load(x + place + half, mask=inside, other=0.0).to(tl.float32)
    # The angles of the second half are those of the first.
    c = tl.load(cos + token * half * 2 + column, mask=column < half, other=0.0).to(tl.float32)
    s = tl.load(sin + token * half * 2 + column, mask=column < half, other=0.0).to(tl.float32)
    tl.store(y + place, (left * c - right * s).to(y.dtype.element_ty), mask=inside)
    tl.store(y + place + half, (right * c + left * s).to(y.dtype.element_ty), mask=inside)


@triton.jit
def _silu_times(gate, up, y, count, BLOCK: tl.constexpr):  # noqa: N803
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    g = tl.load(gate + place, mask=inside, other=0.0).to(tl.float32)
    u = tl.load(up + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(y + place, (g / (1.0 + tl.exp(-g)) * u).to(y.dtype.element_ty), mask=inside)


@triton.jit
def _split(x, y, size, stride, small, BLOCK: tl.constexpr):  # noqa: N803
    row, columns = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < size
    values = tl.load(x + row * stride + columns, mask=inside, other=0.0)
    # TF32 keeps 10 of the 23 bits of the mantissa; half of the last one kept is added for rounding.
    bits = (values.to(tl.int32, bitcast=True) + 0x1000) & -0x2000
    high = bits.to(tl.float32, bitcast=True)
    low = values - high
    place = y + row * 3 * size + columns
    tl.store(place + small * size, low, mask=inside)
    tl.store(place + (1 - small) * size, high, mask=inside)
    tl.store(place + 2 * size, high, mask=inside)


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Each last-axis vector of ``x`` over its root mean square, times ``weight``."""
    x = x.contiguous()
    y, size = torch.empty_like(x), x.shape[-1]
    with torch.cuda.device_of(x):
        _rms_norm[(x.numel() // size,)](x, weight, y, size, epsilon, BLOCK=triton.next_power_of_2(size))
    return y


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """``x`` [B, T, heads, head size] turned by the angles of its positions; cos and sin are [B, T, 1, head size]."""
    x = x.contiguous()
    y, heads, half = torch.empty_like(x), x.shape[2], x.shape[3] // 2
    blocks = {"HEADS": triton.next_power_of_2(heads), "HALF": triton.next_power_of_2(half)}
    with torch.cuda.device_of(x):
        _rotate[(x.shape[0] * x.shape[1],)](x, cos.contiguous(), sin.contiguous(), y, heads, half, **blocks)
    return y


def silu_times(gate: Tensor, up: Tensor) -> Tensor:
    """SiLU of ``gate`` times ``up``, element by element."""
    gate, up = gate.contiguous(), up.contiguous()
    y = torch.empty_like(gate)
    with torch.cuda.device_of(gate):
        _silu_times[(triton.cdiv(y.numel(), 1024),)](gate, up, y, y.numel(), BLOCK=1024)
    return y


def tf32_factors(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Factors [..., 3 inputs] and [outputs, 3 inputs] whose product in TF32 is that of float32 ``x`` and ``weight``.

    Each number is the sum of a high part, which TF32 holds, and a low one, which it rounds in its last bit; of the four
    products that of the two low parts is left out (Markidis et al. 2018, arXiv 1803.04014). The units truncate their
    sums, and the error grows with the sum (Ootomo and Yokota 2022, arXiv 2203.03341): so the small products come first.
    """
    return _in_three(x, 0), _in_three(weight, 1)


def _in_three(x: Tensor, small: int) -> Tensor:
    """Low, high, high (small 0) or high, low, high parts (small 1) of the vectors of the last axis."""
    rows = x if x.dim() == 2 and x.stride(1) == 1 else x.contiguous().flatten(0, -2)
    count, size = rows.shape
    y = rows.new_empty(*x.shape[:-1], 3 * size)
    with torch.cuda.device_of(x):
        _split[(count, triton.cdiv(size, 1024))](rows, y, size, rows.stride(0), small, BLOCK=1024)
    return y
