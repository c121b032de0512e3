"""What quantizing each matrix product alone does to a network's predictions."""

from pathlib import Path

import torch
from numpy.typing import NDArray
from torch import Tensor

from llamanas.architecture import Architecture
from llamanas.benchmark.torch_network import TorchNetwork
from llamanas.export.weights import SubnetTensors, WeightFile
from llamanas.models.families import read_config, shape_of
from llamanas.models.linear import linear
from llamanas.progress import progress
from llamanas.quantize.blocks import dequantize_blocks, quantize_blocks
from llamanas.quantize.network import HEAD, per_output
from llamanas.quantize.plan import BLOCK
from llamanas.quantize.recipes import part_of

WAYS = ("int8", "int4", "dynamic")


class QuantizedProduct(TorchNetwork):
    """A network of which one product computes as if it were quantized; ``way`` is one of :data:`WAYS`."""

    target, way = "", ""

    def quantize(self, target: str, way: str, scale: Tensor | None) -> None:
        """Quantize the product of this name alone, its inputs [inputs] scaled."""
        self.target, self.way = target, way
        weight = self.weights[f"{target}.weight"]
        self._scale = torch.ones_like(weight[0]) if scale is None else scale
        self._weight = fake_quantized(weight * self._scale, way)

    def product(self, name: str, x: Tensor) -> Tensor:
        if name != self.target:
            return super().product(name, x)
        x = x / self._scale
        return linear(
            fake_activations(x) if self.way == "dynamic" else x, self._weight, self.weights.get(f"{name}.bias")
        )


def bits_rows(
    folder: Path, architecture: Architecture, tokens: list[int], device: str, scales: dict[str, NDArray]
) -> list[dict]:
    """Rows of artifact ``bits``: for each product and way the divergence of the network with that product quantized.

    The mean Kullback-Leibler divergence in nats from the float32 network, over the positions of a text. Layers before
    the product are not run again.

    Args:
        folder: config.json and model.safetensors of the super-network, or of the healed pick.
        architecture: the sub-network.
        tokens: the text.
        device: torch device.
        scales: of the inputs of products, as they are quantized.

    Raises:
        LlamaNasError: weights missing or truncated.
    """
    config = read_config(folder / "config.json")
    tensors = SubnetTensors(WeightFile(folder / "model.safetensors"), architecture, shape_of(config))
    network = QuantizedProduct(config, tensors, device, "float32")
    network.prepare(1, len(tokens), 1)
    with torch.inference_mode():
        known = {product: torch.from_numpy(scale).to(device) for product, scale in scales.items()}
        return _rows(network, torch.tensor([tokens], device=device), known)


def _rows(network: QuantizedProduct, tokens: Tensor, scales: dict[str, Tensor]) -> list[dict]:
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    states = [network.embed(tokens)]
    for prefix in network.layers:
        states.append(network.layer(prefix, states[-1], positions))
    reference = _log_probabilities(network, states[-1])
    products = [name.removesuffix(".weight") for name in network.weights if name.endswith("_proj.weight")]
    rows = []
    for product in progress([*products, HEAD], "measure bits", unit="product"):
        layer = -1 if product == HEAD else int(product.split(".")[2])
        first = network.layers.index(f"model.layers.{layer}.") if product != HEAD else len(network.layers)
        row: dict = {"product": product, "layer": layer, "part": part_of(product)}
        row["weights"] = network.weights[f"{product}.weight"].numel()
        for way in WAYS:
            network.quantize(product, way, scales.get(product))
            x = states[first]
            for prefix in network.layers[first:]:
                x = network.layer(prefix, x, positions)
            changed = _log_probabilities(network, x)
            row[f"kl_{way}"] = max(float((reference.exp() * (reference - changed)).sum(-1).mean()), 0.0)
        rows.append(row)
    return rows


def _log_probabilities(network: TorchNetwork, x: Tensor) -> Tensor:
    return network.product(HEAD, network.norm("model.norm", x)).float().log_softmax(-1)


def fake_quantized(weight: Tensor, way: str) -> Tensor:
    """A weight [outputs, inputs] with the values that it has when quantized."""
    matrix = weight.T.float().cpu().numpy()
    if way == "dynamic":
        integers, scales = per_output(matrix)
        values = integers * scales
    else:
        blocks = quantize_blocks(matrix, int(way.removeprefix("int")), BLOCK, symmetric=way == "int8")
        values = dequantize_blocks(blocks, len(matrix))
    return torch.from_numpy(values).T.contiguous().to(weight)


def fake_activations(x: Tensor) -> Tensor:
    """Activations with the values that 8 bits per tensor leave: ONNX's DynamicQuantizeLinear, whose range holds 0."""
    low, high = x.amin().clamp(max=0), x.amax().clamp(min=0)
    scale = ((high - low) / 255).clamp(min=1e-12)
    zero = (-low / scale).round()
    return ((x / scale).round() + zero).clamp(0, 255).sub(zero) * scale
