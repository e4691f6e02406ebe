"""An ONNX graph written node by node: names, constants and versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

OPSET = 23  # the first with `Attention`; onnxruntime 1.23 reads it
IR_VERSION = 10
CONTRIB = "com.microsoft"


class Writer:
    """Nodes and constants of a growing graph; a node and its output share one name, and no name comes twice."""

    def __init__(self, constants: Iterable[TensorProto] = (), opset: int = OPSET) -> None:
        """constants: those of a graph that is written anew, with its opset."""
        self.opset = opset
        self.nodes: list[NodeProto] = []
        self.constants = {tensor.name: tensor for tensor in constants}
        self._named = set(self.constants)

    def add(
        self,
        operator: str,
        inputs: Sequence[str],
        name: str,
        attributes: Mapping[str, Any] = {},
    ) -> str:
        """One node with one output; gives back the output's name."""
        return self.split(operator, inputs, [name], attributes)[0]

    def split(
        self, operator: str, inputs: Sequence[str], outputs: Sequence[str], attributes: Mapping[str, Any] = {}
    ) -> list[str]:
        """One node with several outputs."""
        for name in outputs:
            self._claim(name)
        self.nodes.append(helper.make_node(operator, inputs, outputs, outputs[0], **attributes))
        return list(outputs)

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """A tensor that the file holds."""
        self._claim(name)
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def change(self, name: str, value: NDArray[np.generic]) -> None:
        """Another value for a constant."""
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)

    def array(self, name: str) -> NDArray[np.float32]:
        """The value of a constant."""
        return np.array(numpy_helper.to_array(self.constants[name]), np.float32)

    def integers(self, *values: int) -> str:
        """A vector of int64, such as axes or a shape; the same one for the same values."""
        name = "integers " + " ".join(map(str, values))
        if name not in self.constants:
            self.constant(name, np.array(values, np.int64))
        return name

    def number(self, value: float) -> str:
        """A float32 without dimensions; the same one for the same value."""
        name = f"number {value:g}"
        if name not in self.constants:
            self.constant(name, np.array(value, np.float32))
        return name

    def model(self, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]) -> onnx.ModelProto:
        """The finished graph with the constants that it reads, checked."""
        read = {name for node in self.nodes for name in node.input}
        constants = [tensor for name, tensor in self.constants.items() if name in read]
        graph = helper.make_graph(self.nodes, "encoder", inputs, outputs, constants)
        opsets = [helper.make_opsetid("", self.opset)]
        if any(node.domain == CONTRIB for node in self.nodes):
            opsets.append(helper.make_opsetid(CONTRIB, 1))
        model = helper.make_model(graph, opset_imports=opsets, producer_name="raxe-distill")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        return model

    def _claim(self, name: str) -> None:
        if name in self._named:
            raise ValueError(f"the graph has two tensors of the name {name!r}")
        self._named.add(name)
