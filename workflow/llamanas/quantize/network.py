"""Quantize an exported network: each matrix product in its own way, the embedding in float16.

Ways: ``int8`` and ``int4`` store weights in blocks with a scale each (MatMulNBits), while activations are float32 in
the file and quantized per block as they are multiplied (``accuracy_level`` 4, without which decoding at 8 bits is many
times slower). ``dynamic`` stores 8-bit weights with a scale per output and quantizes activations per tensor: ruinous
where activations have outliers, and inexact on processors without VNNI, whose 16-bit sums saturate. ``float`` leaves
the product as it is. Of the embedding a token reads one row.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from llamanas.errors import LlamaNasError
from llamanas.export.files import save_network
from llamanas.export.graph import FUSED
from llamanas.progress import progress
from llamanas.quantize.blocks import quantize_blocks

INT8_ARITHMETIC = 4  # value of MatMulNBits' accuracy_level
TABLE_INPUT = {"Gather": 0, "MatMul": 1, "FusedMatMul": 1}  # which input of these operators is the weight
HEAD = "lm_head"


def quantize_network(
    source: Path, destination: Path, way: Callable[[str], str], block_size: int = 32, symmetric: bool = True
) -> None:
    """Write the float32 network ``source``, quantized, to ``destination``, weights beside it.

    Args:
        source: a graph that :func:`llamanas.export.onnx.write_onnx` wrote.
        destination: the graph to write.
        way: of each product, such as ``model.layers.0.mlp.gate_up_proj`` or ``lm_head``.
        block_size: weights that share a scale.
        symmetric: whether blocks of 4-bit weights are centred at 0; those of 8 bits always are.

    Raises:
        LlamaNasError: ``source`` cannot be read, or no space is left on the device.
    """
    try:
        network = ir.load(source)
    except Exception as error:  # protobuf's errors are of several kinds
        raise LlamaNasError(f"{source} cannot be read: {error}. Delete it and run the workflow again.") from error
    graph = network.graph
    for node in progress(list(graph), "quantize", unit="node"):
        weight = node.inputs[TABLE_INPUT[node.op_type]] if node.op_type in TABLE_INPUT else None
        tensor = weight.const_value if weight is not None else None
        if weight is None or tensor is None or tensor.dtype != ir.DataType.FLOAT or len(tensor.shape) != 2:
            continue
        if node.op_type == "Gather":
            _halve(graph, node, tensor)
            continue
        chosen = way(product_of(node))
        if chosen == "dynamic":
            _quantize_dynamically(graph, node, tensor)
        elif chosen != "float":
            bits = int(chosen.removeprefix("int"))
            _quantize(graph, node, tensor, bits, block_size, symmetric or bits == 8)
    for name in [name for name, value in graph.initializers.items() if not value.uses() and not value.is_graph_input()]:
        del graph.initializers[name]
    save_network(network, destination)


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


def _matrix(node: ir.Node, weight: ir.TensorProtocol) -> NDArray:
    """The weight as [inputs, outputs]."""
    transposed = "transB" in node.attributes and node.attributes["transB"].as_int() == 1
    return weight.numpy().T if transposed else weight.numpy()


def _quantize(graph: ir.Graph, node: ir.Node, weight: ir.TensorProtocol, bits: int, size: int, symmetric: bool) -> None:
    matrix = _matrix(node, weight)
    blocks = quantize_blocks(matrix, bits, size, symmetric)
    arrays = {f"int{bits}": blocks.values, "scales": blocks.scales}
    if blocks.zeros is not None:
        arrays["zeros"] = blocks.zeros
    constants = [_constant(graph, f"{weight.name}.{kind}", array) for kind, array in arrays.items()]
    attributes = {"K": matrix.shape[0], "N": matrix.shape[1], "bits": bits, "block_size": size}
    attributes["accuracy_level"] = INT8_ARITHMETIC
    _replace(graph, node, [ir.node("MatMulNBits", [node.inputs[0], *constants], attributes, domain=FUSED)])


def _quantize_dynamically(graph: ir.Graph, node: ir.Node, weight: ir.TensorProtocol) -> None:
    integers, scales = per_output(_matrix(node, weight))
    arrays = {"dynamic": np.ascontiguousarray(integers), "scales": scales}
    constants = [_constant(graph, f"{weight.name}.{kind}", array) for kind, array in arrays.items()]
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
