"""The kernels equal PyTorch's own steps. On a machine without a GPU, Triton's interpreter runs them."""

import os

import pytest
import torch

GPU = torch.cuda.is_available()
if not GPU:
    os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("triton", reason="Triton comes with PyTorch's CUDA builds")

from llamanas.models import fused, kernels  # noqa: E402
from llamanas.models.linear import linear  # noqa: E402

DEVICE = "cuda" if GPU else "cpu"


def draw(*sizes: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(sizes, generator=torch.Generator().manual_seed(sum(sizes))).to(DEVICE, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [64, 576])
def test_kernels_equal_eager_steps(dtype, size):
    x, weight = draw(3, 5, size, dtype=dtype), draw(size, dtype=dtype)
    heads, angles = draw(3, 5, 9, 16, dtype=dtype), draw(3, 5, 1, 8, dtype=torch.float32)
    angles = torch.cat((angles, angles), -1)
    rotation = angles.cos().to(dtype), angles.sin().to(dtype)
    pairs = [
        (kernels.rms_norm(x, weight, 1e-5), fused.rms_norm(x, weight, 1e-5)),
        (kernels.rotate(heads, *rotation), fused.rotate(heads, rotation)),
        (kernels.silu_times(x, 2 * x), fused.silu_times(x, 2 * x)),
    ]
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    for own, expected in pairs:
        torch.testing.assert_close(own, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("inputs", [64, 1536])
def test_three_products_in_tf32_are_as_exact_as_one_in_float32(inputs):
    x, larger = draw(3, 50, inputs, dtype=torch.float32), draw(70, inputs + 8, dtype=torch.float32)
    weight = larger[:, :inputs]  # a view, as of a narrowed layer
    factors = kernels.tf32_factors(x, weight)
    exact = x.double() @ weight.double().T
    for factor in factors:
        assert (factor[..., -inputs:].view(torch.int32) & 0x1FFF == 0).all()  # TF32 holds the high parts
    kept = [((factor.view(torch.int32) + 0x1000) & -0x2000).view(torch.float32).double() for factor in factors]
    error = (kept[0] @ kept[1].T - exact).norm() / exact.norm()
    assert error < 3e-7
    if GPU:
        large = torch.randn(2048, inputs, device=DEVICE)
        with torch.inference_mode():
            own = linear(large, weight)
        exact = large.double() @ weight.double().T
        assert (own - exact).norm() < 1e-5 * exact.norm()  # TF32 alone: 3e-4
