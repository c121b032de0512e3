"""The matrices that a training in bfloat16 multiplies by, rounded once in a step and not at each use."""

import copy

import torch
from torch import Tensor, nn

from llamanas.models.decoder import Decoder


class Rounded:
    """``decoder`` shares everything with the trained one but the layers' matrices, which are bfloat16 copies.

    Gradients of what passes at once are in bfloat16 as autocast's are, and add up in float32.
    """

    def __init__(self, trained: Decoder) -> None:
        self.wide: list[Tensor] = [
            m.weight for layer in trained.layers for m in layer.modules() if isinstance(m, nn.Linear)
        ]
        self.narrow: list[Tensor] = [nn.Parameter(weight.detach().bfloat16()) for weight in self.wide]
        replaced: dict[int, object] = {id(each): each for each in trained.parameters()}
        replaced |= {id(wide): narrow for wide, narrow in zip(self.wide, self.narrow, strict=True)}
        self.decoder = copy.deepcopy(trained, replaced)

    @torch.no_grad()
    def update(self) -> None:
        """Take over the trained weights, in a few launches for all."""
        torch._foreach_copy_(self.narrow, self.wide)

    @torch.no_grad()
    def hand_over(self) -> None:
        """Add the gradients to those of the trained weights."""
        pairs = [(wide, narrow.grad) for wide, narrow in zip(self.wide, self.narrow, strict=True)]
        used = [(wide, gradient) for wide, gradient in pairs if gradient is not None]
        found = [torch.empty_like(wide) for wide, _ in used]
        if not used:
            return
        torch._foreach_copy_(found, [gradient for _, gradient in used])
        more = [(wide.grad, new) for (wide, _), new in zip(used, found, strict=True) if wide.grad is not None]
        if more:
            torch._foreach_add_(*map(list, zip(*more, strict=True)))
        for (wide, _), new in zip(used, found, strict=True):
            if wide.grad is None:
                wide.grad = new
        for narrow in self.narrow:
            narrow.grad = None
