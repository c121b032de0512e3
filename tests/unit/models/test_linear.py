"""Matrix products equal PyTorch's own, forward and backward, for views of a larger weight as well."""

import pytest
import torch
import torch.nn.functional as F

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
