"""The teacher's pass as one launch on a GPU: its kernels are recorded once and replayed for every later batch."""

import sys
from typing import Any

import torch
from torch import Tensor

from llamanas.models.decoder import Decoder
from llamanas.models.place import Sequence

Inputs = tuple[Tensor, Tensor, Tensor]  # tokens, positions and bounds


class Recorded:
    """Final hidden states of the full network, for texts with bounds by a CUDA graph for each of their few shapes.

    What it returns is overwritten by the next call.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.function, self.head = decoder.hidden, decoder.lm_head.weight
        self.works = True
        self.graphs: dict[tuple, tuple[Any, Inputs, Tensor]] = {}

    @torch.no_grad()
    def __call__(self, batch: Sequence) -> Tensor:
        if not self.works or batch.bounds is None:
            return self.function(batch)
        inputs = batch.tokens, batch.positions, batch.bounds
        shape = batch.tokens.shape, batch.bounds.shape, batch.longest
        if shape not in self.graphs:
            try:
                self.graphs[shape] = self._record(inputs, batch.longest)
            except RuntimeError as error:  # a kernel that cannot be recorded
                print(f"computing the teacher without a CUDA graph, which is slower: {error!r}", file=sys.stderr)
                self.works = False
                return self.function(batch)
        graph, given, result = self.graphs[shape]
        for own, new in zip(given, inputs, strict=True):
            own.copy_(new)
        graph.replay()
        return result

    def _record(self, inputs: Inputs, longest: int) -> tuple[Any, Inputs, Tensor]:
        tokens, positions, bounds = (tensor.clone() for tensor in inputs)
        batch = Sequence(tokens, positions, None, bounds, longest)
        self.function(batch)  # compiles and loads what a recording may not
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as NCCL's, may ask the GPU something meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = self.function(batch)
        return graph, (tokens, positions, bounds), result
