"""8-bit weights in blocks of 32: about a quarter of the bytes, at hardly any loss.

Activations are float32 in the file and quantized per block while they are multiplied (``accuracy_level`` 4, without
which decoding is many times slower). Every matrix product is included, the head too. The embedding, of which a token
reads one row, is stored in float16.
"""

from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, DefaultWeightOnlyQuantizer

from llamanas.errors import LlamaNasError
from llamanas.export.files import save_network
from llamanas.progress import progress

BITS, BLOCK = 8, 32
INT8_ARITHMETIC = 4  # value of MatMulNBits' accuracy_level
TABLE_INPUT = {"Gather": 0, "MatMul": 1, "FusedMatMul": 1}  # which input of these operators is the weight


def quantize_int8(source: Path, destination: Path) -> None:
    """Write the float32 network ``source`` with 8-bit weights to ``destination``, weights beside it.

    Raises:
        LlamaNasError: ``source`` cannot be read, or no space is left on the device.
    """
    try:
        network = ir.load(source)
    except Exception as error:  # protobuf's errors are of several kinds
        raise LlamaNasError(f"{source} cannot be read: {error}. Delete it and run the workflow again.") from error
    graph = network.graph
    replaced = set()
    for node in progress(list(graph), "quantize", unit="node"):
        weight = node.inputs[TABLE_INPUT[node.op_type]] if node.op_type in TABLE_INPUT else None
        tensor = weight.const_value if weight is not None else None
        if tensor is None or tensor.dtype != ir.DataType.FLOAT or len(tensor.shape) != 2:
            continue
        replaced.add(str(tensor.name))
        replace = _halve if node.op_type == "Gather" else _quantize
        replace(graph, node, tensor)
    for name in replaced:
        del graph.initializers[name]
    save_network(network, destination)


def _quantize(graph: ir.Graph, node: ir.Node, weight: ir.TensorProtocol) -> None:
    """Replace a matrix product by one with quantized weights [outputs, blocks, block] and scales [outputs, blocks]."""
    transposed = "transB" in node.attributes and node.attributes["transB"].as_int() == 1
    matrix = weight.numpy().T if transposed else weight.numpy()
    inputs, outputs = matrix.shape
    quantizer = DefaultWeightOnlyQuantizer(DefaultWeightOnlyQuantConfig(BLOCK, is_symmetric=True, bits=BITS))
    blocks, scales, _ = quantizer.qbits_block_quant(np.ascontiguousarray(matrix))
    constants = [_constant(graph, f"{weight.name}.int8", blocks), _constant(graph, f"{weight.name}.scales", scales)]
    attributes = {"K": inputs, "N": outputs, "bits": BITS, "block_size": BLOCK, "accuracy_level": INT8_ARITHMETIC}
    _replace(graph, node, [ir.node("MatMulNBits", [node.inputs[0], *constants], attributes, domain="com.microsoft")])


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
