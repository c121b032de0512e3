"""Quantize an exported network: each matrix product in its own way, the embedding in float16.

Ways: ``int8`` and ``int4`` store weights in blocks with a scale each (MatMulNBits), while activations are float32 in
the file and quantized per block as they are multiplied (``accuracy_level`` 4, without which decoding at 8 bits is many
times slower). ``dynamic`` stores 8-bit weights with a scale per output and quantizes activations per tensor: ruinous
where activations have outliers, and inexact on processors without VNNI, whose 16-bit sums saturate. ``float`` leaves
the product as it is. Of the embedding a token reads one row.

Scales of :mod:`llamanas.quantize.equalize` even out what is rounded: a product's weights are multiplied by them, and
what gives its inputs, the norm before it or the up projection, is divided by them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from llamanas.errors import LlamaNasError
from llamanas.export.files import save_network
from llamanas.export.graph import FUSED
from llamanas.progress import progress
from llamanas.quantize.blocks import quantize_blocks
from llamanas.quantize.recipes import part_of

INT8_ARITHMETIC = 4  # value of MatMulNBits' accuracy_level
TABLE_INPUT = {"Gather": 0, "MatMul": 1, "FusedMatMul": 1}  # which input of these operators is the weight
HEAD, UP = "lm_head", "mlp.up_proj.weight"
# The vector of a layer that must be divided where the inputs of this part are scaled; of the head it is in no layer.
GIVERS = {
    "qkv": "input_layernorm.weight",
    "gate_up": "post_attention_layernorm.weight",
    "down": "mlp.up_proj.bias",
    "head": "model.norm.weight",
}

Scales = Mapping[str, NDArray]


def quantize_network(
    source: Path,
    destination: Path,
    way: Callable[[str], str],
    block_size: int = 32,
    symmetric: bool = True,
    scales: Scales | None = None,
) -> None:
    """Write the float32 network ``source``, quantized, to ``destination``, weights beside it.

    Args:
        source: a graph that :func:`llamanas.export.onnx.write_onnx` wrote.
        destination: the graph to write.
        way: of each product, such as ``model.layers.0.mlp.gate_up_proj`` or ``lm_head``.
        block_size: weights that share a scale.
        symmetric: whether blocks of 4-bit weights are centred at 0; those of 8 bits always are.
        scales: of the inputs of products that are to be equalized, [inputs] each, by product.

    Raises:
        LlamaNasError: ``source`` cannot be read, or no space is left on the device.
    """
    network = load_network(source)
    graph, scales = network.graph, scales or {}
    _divide_vectors(graph, scales)
    for node in progress(list(graph), "quantize", unit="node"):
        weight = node.inputs[TABLE_INPUT[node.op_type]] if node.op_type in TABLE_INPUT else None
        tensor = weight.const_value if weight is not None else None
        if weight is None or tensor is None or tensor.dtype != ir.DataType.FLOAT or len(tensor.shape) != 2:
            continue
        if node.op_type == "Gather":
            _halve(graph, node, tensor)
            continue
        chosen = way(product_of(node))
        if chosen == "float":
            _keep(graph, node, tensor, scales)
            continue
        matrix = _matrix(node, tensor, scales)
        if chosen == "dynamic":
            _quantize_dynamically(graph, node, str(tensor.name), matrix)
        else:
            bits = int(chosen.removeprefix("int"))
            _quantize(graph, node, str(tensor.name), matrix, bits, block_size, symmetric or bits == 8)
    for name in [name for name, value in graph.initializers.items() if not value.uses() and not value.is_graph_input()]:
        del graph.initializers[name]
    save_network(network, destination)


def load_network(path: Path) -> ir.Model:
    """A graph whose weights stay in their file until they are used.

    Raises:
        LlamaNasError: it cannot be read.
    """
    try:
        return ir.load(path)
    except Exception as error:  # protobuf's errors are of several kinds
        raise LlamaNasError(f"{path} cannot be read: {error}. Delete it and run the workflow again.") from error


def product_of(node: ir.Node) -> str:
    """The product's name, that of its weight; a tied head's weight has the embedding's, and gate and up are one."""
    if node.op_type == "FusedMatMul":
        return HEAD
    name = str(node.inputs[1].name).removesuffix(".weight")  # type: ignore[union-attr]
    return name.replace("gate_proj", "gate_up_proj").replace(".up_proj", ".gate_up_proj")


def per_output(matrix: NDArray) -> tuple[NDArray, NDArray]:
    """8-bit integers of a matrix [inputs, outputs], and the scale of each output."""
    scales = np.maximum(np.abs(matrix).max(0), np.finfo(np.float32).tiny) / 127
    return np.rint(matrix / scales).astype(np.int8), scales.astype(np.float32)


def _divide_vectors(graph: ir.Graph, scales: Scales) -> None:
    """Divide the norms that give the inputs of equalized products, and the biases of up projections."""
    for product, scale in scales.items():
        layer, name = ".".join(product.split(".")[:3]), GIVERS[part_of(product)]
        vector = graph.initializers.get(name if product == HEAD else f"{layer}.{name}")
        if vector is not None and vector.const_value is not None:
            vector.const_value = ir.tensor(vector.const_value.numpy() / scale, name=vector.name)


def _matrix(node: ir.Node, weight: ir.TensorProtocol, scales: Scales) -> NDArray:
    """The weight as [inputs, outputs], multiplied by the scales of its inputs and divided by those that it gives."""
    matrix = weight.numpy().T if _transposed(node) else weight.numpy()
    if (scale := scales.get(product_of(node))) is not None:
        matrix = matrix * scale[:, None]
    if (scale := scales.get(_taker(node))) is not None:
        matrix = matrix / scale
    return matrix


def _transposed(node: ir.Node) -> bool:
    return "transB" in node.attributes and node.attributes["transB"].as_int() == 1


def _taker(node: ir.Node) -> str:
    """The product whose inputs are scaled as the outputs of this one: the down projection's, of an up projection."""
    name = str(node.inputs[1].name)  # type: ignore[union-attr]
    return name.replace(UP, "mlp.down_proj") if name.endswith(UP) else ""


def _keep(graph: ir.Graph, node: ir.Node, weight: ir.TensorProtocol, scales: Scales) -> None:
    """Leave a product in float32, with its scales."""
    if product_of(node) in scales or _taker(node) in scales:
        matrix = _matrix(node, weight, scales)
        scaled = matrix.T if _transposed(node) else matrix
        node.replace_input_with(1, _constant(graph, f"{weight.name}.float32", np.ascontiguousarray(scaled)))


def _quantize(
    graph: ir.Graph, node: ir.Node, name: str, matrix: NDArray, bits: int, size: int, symmetric: bool
) -> None:
    blocks = quantize_blocks(matrix, bits, size, symmetric)
    arrays = {f"int{bits}": blocks.values, "scales": blocks.scales}
    if blocks.zeros is not None:
        arrays["zeros"] = blocks.zeros
    constants = [_constant(graph, f"{name}.{kind}", array) for kind, array in arrays.items()]
    attributes = {"K": matrix.shape[0], "N": matrix.shape[1], "bits": bits, "block_size": size}
    attributes["accuracy_level"] = INT8_ARITHMETIC
    _replace(graph, node, [ir.node("MatMulNBits", [node.inputs[0], *constants], attributes, domain=FUSED)])


def _quantize_dynamically(graph: ir.Graph, node: ir.Node, name: str, matrix: NDArray) -> None:
    integers, scales = per_output(matrix)
    arrays = {"dynamic": np.ascontiguousarray(integers), "scales": scales}
    constants = [_constant(graph, f"{name}.{kind}", array) for kind, array in arrays.items()]
    _replace(graph, node, [ir.node("DynamicQuantizeMatMul", [node.inputs[0], *constants], domain=FUSED)])


def _halve(graph: ir.Graph, node: ir.Node, table: ir.TensorProtocol) -> None:
    """Look rows up in a float16 copy of the table."""
    half = _constant(graph, f"{table.name}.float16", table.numpy().astype(np.float16))
    rows = ir.node("Gather", [half, node.inputs[1]])
    _replace(graph, node, [rows, ir.node("Cast", rows.outputs, {"to": ir.DataType.FLOAT})])


def _constant(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    value = ir.val(name, const_value=ir.tensor(array, name=name))
    graph.register_initializer(value)
    return value


def _replace(graph: ir.Graph, old: ir.Node, new: list[ir.Node]) -> None:
    ir.convenience.replace_nodes_and_values(graph, old, [old], new, old.outputs, new[-1].outputs)
