"""Emit the nodes of an ONNX graph in order; weights stay in their file until the graph is saved."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from torch import Tensor

FUSED = "com.microsoft"  # domain of ONNX Runtime's own operators
OPSETS = {"": 21, FUSED: 1}
IR_VERSION = 10


class Graph:
    """A graph under construction."""

    def __init__(self) -> None:
        self._tape = ir.tape.Tape()
        self._inputs: list[ir.Value] = []
        self._outputs: list[ir.Value] = []
        self.weights: dict[str, ir.Value] = {}

    def op(self, kind: str, *inputs: ir.Value | None, domain: str = "", **attributes: Any) -> ir.Value:
        """A node with one output."""
        return self._tape.op(kind, inputs, attributes, domain=domain)

    def fused(self, kind: str, outputs: int, *inputs: ir.Value | None, **attributes: Any) -> Sequence[ir.Value]:
        """A node of ONNX Runtime's own with several outputs."""
        return self._tape.op_multi_out(kind, inputs, attributes, num_outputs=outputs, domain=FUSED)

    def split(self, x: ir.Value, sizes: ir.Value, parts: int) -> Sequence[ir.Value]:
        """``x`` divided along its last axis."""
        return self._tape.op_multi_out("Split", [x, sizes], {"axis": -1}, num_outputs=parts)

    def input(self, name: str, sizes: Sequence[int | str], dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
        """A graph input; sizes that vary have names."""
        self._inputs.append(ir.val(name, dtype, sizes))
        return self._inputs[-1]

    def optional_input(self, name: str, default: np.ndarray) -> ir.Value:
        """A graph input that may be left out."""
        self._inputs.append(self.constant(name, default))
        return self._inputs[-1]

    def output(self, name: str, value: ir.Value, sizes: Sequence[int | str]) -> None:
        """Make a float32 value an output of the graph."""
        value.name, value.type, value.shape = name, ir.TensorType(ir.DataType.FLOAT), ir.Shape(sizes)
        self._outputs.append(value)

    def constant(self, name: str, array: np.ndarray) -> ir.Value:
        """A small array, stored once under its name."""
        return self.weights.setdefault(name, ir.val(name, const_value=ir.tensor(array, name=name)))

    def weight(self, name: str, sizes: Sequence[int], load: Callable[[], Tensor]) -> ir.Value:
        """A weight of these sizes, stored in float32; ``load`` gives it when it is written, then it is forgotten."""

        def tensor() -> ir.Tensor:
            return ir.Tensor(load().float().contiguous().numpy(), name=name)

        lazy = ir.LazyTensor(tensor, ir.DataType.FLOAT, ir.Shape(sizes), name=name)
        return self.weights.setdefault(name, ir.val(name, const_value=lazy))

    def model(self, name: str) -> ir.Model:
        """The finished graph."""
        graph = ir.Graph(
            self._inputs,
            self._outputs,
            nodes=self._tape.nodes,
            initializers=list(self.weights.values()),
            opset_imports=OPSETS,
            name=name,
        )
        return ir.Model(graph, ir_version=IR_VERSION, producer_name="llamanas")
