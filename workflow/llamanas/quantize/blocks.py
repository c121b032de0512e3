"""Weights as integers in blocks that share a scale, in the layout of ONNX Runtime's MatMulNBits."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, DefaultWeightOnlyQuantizer


class Blocks(NamedTuple):
    """A matrix [inputs, outputs], each column divided into blocks of ``size`` inputs.

    ``values`` [outputs, blocks, bytes of a block]; ``scales`` [outputs, blocks]; ``zeros``, the packed integers that
    stand for 0, or None where that is the middle of the range.
    """

    values: NDArray
    scales: NDArray
    zeros: NDArray | None
    bits: int
    size: int

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.scales.nbytes + (0 if self.zeros is None else self.zeros.nbytes)


def quantize_blocks(matrix: NDArray, bits: int, size: int, symmetric: bool) -> Blocks:
    """A float32 matrix [inputs, outputs] at 4 or 8 bits."""
    quantizer = DefaultWeightOnlyQuantizer(DefaultWeightOnlyQuantConfig(size, is_symmetric=symmetric, bits=bits))
    values, scales, zeros = quantizer.qbits_block_quant(np.ascontiguousarray(matrix))
    outputs = matrix.shape[1]
    return Blocks(values, scales.reshape(outputs, -1), None if symmetric else zeros.reshape(outputs, -1), bits, size)


def dequantize_blocks(blocks: Blocks, inputs: int) -> NDArray:
    """The float32 matrix [inputs, outputs] that the blocks stand for."""
    integers = _unpacked(blocks.values, blocks.bits).reshape(len(blocks.values), -1, blocks.size).astype(np.float32)
    zeros: NDArray | float = 2.0 ** (blocks.bits - 1)
    if blocks.zeros is not None:
        zeros = _unpacked(blocks.zeros, blocks.bits)[:, : integers.shape[1], None].astype(np.float32)
    matrix = ((integers - zeros) * blocks.scales[:, :, None]).reshape(len(integers), -1)
    return np.ascontiguousarray(matrix[:, :inputs].T)


def _unpacked(values: NDArray, bits: int) -> NDArray:
    """Two integers of a byte, the lower first, side by side along the last axis."""
    if bits == 8:
        return values
    return np.stack((values & 15, values >> 4), -1).reshape(*values.shape[:-1], -1)
