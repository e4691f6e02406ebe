"""Calibrations as ONNX nodes, with the roundings of `core.calibration`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from core.calibration import Piecewise


@dataclass
class Parts:
    """Nodes and constants of a growing graph; names are the caller's care."""

    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def add(self, operator: str, inputs: Sequence[str], output: str, attributes: Mapping[str, Any] = {}) -> str:
        """One node; gives back the name of its output."""
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: NDArray[np.generic] | float) -> str:
        """A constant (a plain number becomes float32); gives back its name."""
        array = value if isinstance(value, np.ndarray) else np.array(value, np.float32)
        self.constants.append(numpy_helper.from_array(array, name))
        return name


def add_piecewise(parts: Parts, curves: Piecewise, scores: str) -> str:
    """`scores` (batch, classes) through their curves; the name of the result, of the same shape."""
    classes, pieces = curves.anchors.shape
    last, starts = np.array([-1], np.int64), np.arange(classes, dtype=np.int64) * pieces
    apart = parts.add("Unsqueeze", [scores, parts.constant("last", last)], "apart")  # (batch, classes, 1)
    reached = parts.add("GreaterOrEqual", [apart, parts.constant("edges", curves.edges)], "reached")
    counted = parts.add("Cast", [reached], "counted", {"to": TensorProto.INT64})
    piece = parts.add("ReduceSum", [counted, "last"], "piece", {"keepdims": 0})  # (batch, classes)
    place = parts.add("Add", [piece, parts.constant("starts", starts)], "place")
    anchor, value, slope = (
        parts.add("Gather", [parts.constant(f"{name}s", table.ravel()), place], name)
        for name, table in (("anchor", curves.anchors), ("value", curves.values), ("slope", curves.slopes))
    )
    beyond = parts.add("Sub", [scores, anchor], "beyond")
    return parts.add("Add", [value, parts.add("Mul", [slope, beyond], "rise")], "mapped")


def add_classwise(parts: Parts, curves: Piecewise, scores: str) -> str:
    """Probabilities `scores` (batch, classes) each through its curve, then made to sum to 1 again."""
    mapped = add_piecewise(parts, curves, scores)
    total = parts.add("ReduceSum", [mapped, "last"], "total", {"keepdims": 1})
    return parts.add("Div", [mapped, total], "shared")
