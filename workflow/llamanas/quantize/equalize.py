"""Scales that even out what quantizing rounds: the inputs of a matrix product against its weights.

Both are rounded in blocks that share a step, set by the largest number of the block, so that channels with large inputs
cost the others of their block their precision. Dividing channel j of the input by s_j and multiplying the weights that
it meets by s_j changes no result. SmoothQuant (Xiao et al., arXiv 2211.10438) takes s_j from the maxima of both, with
half of the range given to each; ours are the root mean squares, s_j = sqrt(rms(x_j) / rms(w_j)), which a single outlier
moves less.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llamanas.architecture import Architecture
from llamanas.benchmark.torch_network import TorchNetwork
from llamanas.export.weights import SubnetTensors, WeightFile
from llamanas.models.families import read_config, shape_of
from llamanas.quantize.network import GIVERS, HEAD
from llamanas.quantize.recipes import part_of

LEAST = 0.03  # of the mean over the channels, which one that a short text hardly uses is taken to have


class InputSizes(TorchNetwork):
    """A network that adds up the squares of the inputs [inputs] of each product that can be equalized."""

    squares: dict[str, Tensor]

    def product(self, name: str, x: Tensor) -> Tensor:
        if part_of(name) in GIVERS:
            self.squares[name] = x.double().square().flatten(0, -2).sum(0)
        return super().product(name, x)


def scale_rows(folder: Path, architecture: Architecture, tokens: list[int], device: str) -> list[dict]:
    """Rows of artifact ``scales``: one for each product that can be equalized and each of its inputs.

    The inputs of an output projection are left as they are: they are means of values, and rounding them costs little.

    Args:
        folder: config.json and model.safetensors of the super-network, or of the healed pick.
        architecture: the sub-network.
        tokens: the text.
        device: torch device.

    Raises:
        LlamaNasError: weights missing or truncated.
    """
    config = read_config(folder / "config.json")
    tensors = SubnetTensors(WeightFile(folder / "model.safetensors"), architecture, shape_of(config))
    network = InputSizes(config, tensors, device, "float32")
    network.squares = {}
    network.prepare(1, len(tokens), 1)
    with torch.inference_mode():
        network.product(
            HEAD, network.hidden(torch.tensor([tokens], device=device), torch.arange(len(tokens), device=device))
        )
    return [
        {"product": name, "channel": channel, "scale": scale}
        for name, squares in network.squares.items()
        for channel, scale in enumerate(balance(squares.sqrt(), network.weights[f"{name}.weight"]).tolist())
    ]


def read_scales(rows: list[dict]) -> dict[str, NDArray]:
    """The scales [inputs] by product, of rows of artifact ``scales``."""
    scales: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        scales[row["product"]].append(row["scale"])
    return {product: np.array(values, np.float32) for product, values in scales.items()}


def balance(sizes: Tensor, weight: Tensor) -> Tensor:
    """The scales [inputs] of inputs of these root mean squares, up to a factor, that meet a weight [outputs, inputs].

    Their geometric mean is 1.
    """
    sizes = sizes.clamp(min=LEAST * sizes.mean())
    weights = weight.double().square().sum(0).sqrt()
    logarithms = (sizes.log() - weights.clamp(min=LEAST * weights.mean()).log()) / 2
    return (logarithms - logarithms.mean()).exp()
