"""The five heads of raxe 0.15.0 as graphs, made of our three and the table that says what our names become there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper

from core.head_graph import IR_VERSION, without_zip_map
from core.rows import Taxonomy
from export.layouts import mapping, raxe_names

GIVEN = "embeddings"


def derive(heads: Mapping[str, onnx.ModelProto], taxonomy: Taxonomy) -> dict[str, onnx.ModelProto]:
    """Each by its name there: `embeddings` (batch, dim) -> `label` int64 and `probabilities` (batch, classes) float32.

    Our family heads answer which attack a text is, should it be one; theirs also have a class for no attack. So where
    the binary head finds an attack (at 0.5) that class gets 0 and the others what our head says, and where it does not,
    that class gets what the binary head says and the others share the rest. All five then decide as the binary head.
    No sum may round to more than 1: the package takes a confidence of 1.0000001 for an error and lets the text pass.
    """
    rows = [mapping.derived_from(name, taxonomy.parent.get(name, "")) for name in taxonomy.subfamilies]
    families = _table([mapping.family_of(name) for name in taxonomy.families], raxe_names.FAMILIES)
    return {
        "is_threat": without_zip_map(heads["binary"]),
        "threat_family": _gated(heads, "family", families, raxe_names.FAMILIES.index("benign")),
        "severity": _gated(heads, "subfamily", _table([row.severity for row in rows], raxe_names.SEVERITIES), 0),
        "primary_technique": _gated(
            heads, "subfamily", _table([row.technique for row in rows], raxe_names.TECHNIQUES), 0
        ),
        "harm_types": _several(heads, _table([row.harm for row in rows], raxe_names.HARMS)),
    }


def _table(names: Sequence[str], classes: Sequence[str]) -> NDArray[np.float32]:
    """(ours, theirs): 1 where one of our names becomes a class there."""
    return np.eye(len(classes), dtype=np.float32)[[classes.index(name) for name in names]]


def _gated(
    heads: Mapping[str, onnx.ModelProto], which: str, table: NDArray[np.float32], harmless: int
) -> onnx.ModelProto:
    """One of several classes, of which number `harmless` is that of no attack."""
    only = np.eye(table.shape[1], dtype=np.float32)[[harmless]]
    constants: dict[str, NDArray[np.float32] | float] = {
        "table": table,
        "only": only,
        "half": 0.5,
        "one": 1.0,
        "zero": 0.0,
    }
    nodes = [
        helper.make_node("MatMul", [f"{which}_probabilities", "table"], ["named"]),  # (batch, theirs)
        helper.make_node("GreaterOrEqual", ["attack", "half"], ["flagged"]),  # (batch, 1)
        helper.make_node("Where", ["flagged", "one", "attack"], ["share"]),
        helper.make_node("Sub", ["one", "attack"], ["benign"]),
        helper.make_node("Where", ["flagged", "zero", "benign"], ["rest"]),
        helper.make_node("Mul", ["named", "share"], ["threats"]),
        helper.make_node("Mul", ["rest", "only"], ["harmless"]),
        helper.make_node("Add", ["threats", "harmless"], ["sums"]),
        helper.make_node("Min", ["sums", "one"], ["probabilities"]),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]
    return _model(heads, which, constants, nodes, table.shape[1], ["batch"])


def _several(heads: Mapping[str, onnx.ModelProto], table: NDArray[np.float32]) -> onnx.ModelProto:
    """Each class for itself: the probability of an attack of a sub-family that becomes that class."""
    constants: dict[str, NDArray[np.float32] | float] = {"table": table, "half": 0.5, "one": 1.0}
    nodes = [
        helper.make_node("MatMul", ["subfamily_probabilities", "table"], ["named"]),
        helper.make_node("Mul", ["named", "attack"], ["sums"]),
        helper.make_node("Min", ["sums", "one"], ["probabilities"]),
        helper.make_node("GreaterOrEqual", ["probabilities", "half"], ["active"]),
        helper.make_node("Cast", ["active"], ["label"], to=TensorProto.INT64),
    ]
    return _model(heads, "subfamily", constants, nodes, table.shape[1], ["batch", table.shape[1]])


def _model(
    heads: Mapping[str, onnx.ModelProto],
    which: str,
    constants: Mapping[str, NDArray[np.float32] | float],
    nodes: Sequence[onnx.NodeProto],
    classes: int,
    label: Sequence[str | int],
) -> onnx.ModelProto:
    """The binary head, the head `which` and what is made of both."""
    parts = {name: _renamed(without_zip_map(heads[name]), name) for name in ("binary", which)}
    tensors = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()]
    tensors.append(numpy_helper.from_array(np.array([1], np.int64), "attack_column"))
    attack = helper.make_node("Gather", ["binary_probabilities", "attack_column"], ["attack"], axis=1)  # (batch, 1)
    graph = helper.make_graph(
        [*(node for part in parts.values() for node in part.graph.node), attack, *nodes],
        "classifier",
        [heads["binary"].graph.input[0]],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, label),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", classes]),
        ],
        [*(tensor for part in parts.values() for tensor in part.graph.initializer), *tensors],
    )
    opsets = {entry.domain: entry.version for part in parts.values() for entry in part.opset_import}
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    model = helper.make_model(graph, opset_imports=imports, producer_name="raxe-distill")
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return model


def _renamed(head: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Everything begins with the head's name, but for the embedding that comes in."""
    part = compose.add_prefix(head, f"{name}_")
    for node in part.graph.node:
        node.input[:] = [GIVEN if read == f"{name}_{GIVEN}" else read for read in node.input]
    return part
