"""Batches of token sequences, and what an attention has to know about them."""

from typing import NamedTuple

import torch
from torch import Tensor


class Sequence(NamedTuple):
    """A batch of packed token sequences.

    tokens and positions are [B, T] integers; ``visible`` is None for plain causal attention, else a [B, 1, T, T]
    boolean mask, true where a query (row) may see a key (column). With ``bounds``, the [S + 1] places at which the S
    texts of a single row begin and end, each text attends to itself alone and there is no mask; ``longest`` limits
    their lengths.
    """

    tokens: Tensor
    positions: Tensor
    visible: Tensor | None = None
    bounds: Tensor | None = None
    longest: int = 0


class Place(NamedTuple):
    """What every attention asks for: the rotary angles [B, T, 1, head size] of the positions, and who sees whom.

    With ``bounds`` the angles are those of one row, which any number of equal rows may share.
    """

    rotation: tuple[Tensor, Tensor]
    visible: Tensor | None = None
    bounds: Tensor | None = None
    longest: int = 0

    def repeated(self, count: int) -> "Place":
        """That of ``count`` copies of the batch, one after the other along the first axis."""
        cos, sin = self.rotation
        if self.bounds is not None:  # an empty text stands between two copies
            starts = torch.arange(count, dtype=self.bounds.dtype, device=self.bounds.device) * cos.shape[1]
            return self._replace(bounds=(starts[:, None] + self.bounds).flatten())
        copies = count, 1, 1, 1
        visible = None if self.visible is None else self.visible.repeat(copies)
        return self._replace(rotation=(cos.repeat(copies), sin.repeat(copies)), visible=visible)
