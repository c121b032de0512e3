"""Matrix products equal PyTorch's own, forward and backward, for views of a larger weight as well."""

import pytest
import torch
import torch.nn.functional as F

from llamanas.models import linear as module
from llamanas.models.linear import linear

WEIGHT = torch.randn(96, 64, generator=torch.Generator().manual_seed(0))
VIEWS = {"whole": WEIGHT, "rows": WEIGHT[:40], "columns": WEIGHT[:, :24], "both": WEIGHT[:40, :24]}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradients_equal_pytorchs(view, bias, dtype):
    draw = torch.Generator().manual_seed(1)
    weight = VIEWS[view].to(dtype)
    inputs = torch.randn(3, 5, weight.shape[1], generator=draw).to(dtype)
    added = torch.randn(weight.shape[0], generator=draw).to(dtype) if bias else None
    toward = torch.randn(3, 5, weight.shape[0], generator=draw).to(dtype)
    results = []
    for product in (linear, F.linear):
        leaves = [t.clone().requires_grad_() for t in (inputs, weight, added) if t is not None]
        y = product(*leaves)
        gradients = torch.autograd.grad((y * toward).sum(), leaves)
        with torch.no_grad():
            assert torch.equal(product(*leaves), y)
        results.append([y, *gradients])
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    for own, expected in zip(*results, strict=True):
        torch.testing.assert_close(own, expected, atol=tolerance, rtol=tolerance)


class Factors:
    """In place of the kernels: factors whose product is twice the true one, so that one sees who multiplied."""

    @staticmethod
    def tf32_factors(x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert torch.get_float32_matmul_precision() == "high"
        return torch.cat((x, x), -1), torch.cat((weight, weight), -1)


@pytest.mark.parametrize(
    ("rows", "dtype", "inference", "fast", "kernels", "factor"),
    [
        (2048, torch.float32, True, True, Factors, 2),
        (512, torch.float32, True, True, Factors, 1),  # memory is what limits so few rows
        (2048, torch.bfloat16, True, True, Factors, 1),
        (2048, torch.float32, False, True, Factors, 1),  # a training, also inside an autograd function
        (2048, torch.float32, True, False, Factors, 1),  # a GPU for graphics
        (2048, torch.float32, True, True, None, 1),  # without Triton
    ],
)
def test_three_products_are_taken_in_inference_on_fast_gpus_alone(
    monkeypatch, rows, dtype, inference, fast, kernels, factor
):
    monkeypatch.setattr(module, "_has_fast_tf32", lambda device: fast)
    monkeypatch.setattr(module, "triton_kernels", lambda: kernels)
    x, weight, bias = (torch.randn(size, dtype=dtype) for size in ((2, rows // 2, 16), (8, 16), (8,)))
    with torch.inference_mode() if inference else torch.no_grad():
        y = module._on_gpu(x, weight, bias)
    tolerance = 0.1 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(y, factor * F.linear(x, weight) + bias, atol=tolerance, rtol=tolerance)
    assert torch.get_float32_matmul_precision() == "highest"


def test_compiles_as_one_graph_on_a_gpu():
    """A break in each product leaves the GPU waiting for the host."""
    x, weight = torch.randn(2048, 64), WEIGHT
    compiled = torch.compile(module._on_gpu, fullgraph=True, backend="eager")
    for dtype in (torch.float32, torch.bfloat16):
        torch.testing.assert_close(
            compiled(x.to(dtype), weight.to(dtype), None), F.linear(x.to(dtype), weight.to(dtype))
        )
