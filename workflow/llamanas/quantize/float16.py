"""An exported network in float16: weights, activations and cache, as ONNX Runtime's attention on CUDA wants them.

Logits are float32 again at the end. The CPU runs such a network too, most of it in float32 between casts, so that what
is measured there does not show activations beyond float16.
"""

from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir

from llamanas.errors import LlamaNasError
from llamanas.export.files import save_network
from llamanas.quantize.network import load_network

HALF = ir.DataType.FLOAT16


def to_float16(source: Path, destination: Path) -> None:
    """Write the float32 network ``source`` in float16 to ``destination``, weights beside it.

    Args:
        source: a graph that :func:`llamanas.export.onnx.write_onnx` wrote.
        destination: the graph to write.

    Raises:
        LlamaNasError: ``source`` cannot be read, a weight is beyond float16 or no number, or no space is left on the
            device.
    """
    network = load_network(source)
    graph = network.graph
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.dtype == ir.DataType.FLOAT:
            _require_range(tensor)
            sizes = ir.Shape(tensor.numpy().shape)
            value.const_value = ir.LazyTensor(partial(_halved, tensor), HALF, sizes, name=tensor.name)
            value.dtype = HALF
    logits, *present = graph.outputs
    for value in (*graph.inputs, *present):
        if value.dtype == ir.DataType.FLOAT:
            value.dtype = HALF
    cast = ir.node("Cast", [logits], {"to": ir.DataType.FLOAT})
    (logits32,) = cast.outputs
    logits32.name, logits32.type, logits32.shape = logits.name, ir.TensorType(ir.DataType.FLOAT), logits.shape
    logits.name, logits.dtype = f"{logits.name}.float16", HALF
    graph.append(cast)
    graph.outputs[0] = logits32
    save_network(network, destination)


def _require_range(tensor: ir.TensorProtocol) -> None:
    largest, end = np.abs(tensor.numpy()).max(initial=0), np.finfo(np.float16).max
    if not largest <= end:
        raise LlamaNasError(
            f"{tensor.name} has a weight of {largest:g}, beyond float16, which ends at {end:g}. Leave recipes of "
            "method 'float16' out of export.precisions."
        )


def _halved(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.tensor(tensor.numpy().astype(np.float16), name=tensor.name)
