"""The classifiers on the embedding, stored as ONNX: binary, family, sub-family, with the operating point built in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

HEADS = ("binary", "family", "subfamily")
OPSET = 17
IR_VERSION = 8  # what opset 17 came with: every onnxruntime since 1.12 reads it


@dataclass(frozen=True)
class LinearHead:
    """logits = embedding @ weight.T + bias; one row for the binary head (attack), one per class otherwise."""

    weight: NDArray[np.float32]  # (classes, dim)
    bias: NDArray[np.float32]  # (classes,)

    def logits(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """embeddings (texts, dim) -> (texts, classes)."""
        return embeddings @ self.weight.T + self.bias


@dataclass(frozen=True)
class Origin:
    """Which rows chose an operating point, by which rule, and what it gave on them."""

    rule: str
    """In words, with its numbers: `highest recall with FPR < 0.01 less a margin of 20 %`."""
    split: str
    fingerprint: str
    """Of the rows (`core.rows.fingerprint`)."""
    rows: int
    attacks: int
    f1: float
    recall: float
    false_positive_rate: float


@dataclass(frozen=True)
class OperatingPoint:
    """The validated threshold and calibration of the binary logit z: what is served is scale * (z - logit).

    Consumers compare the attack probability with a fixed 0.5, so the threshold must stand exactly there.
    """

    logit: float
    """The threshold found on validation, as a logit of the raw head."""
    scale: float
    """Platt's slope (Platt 1999) fitted on validation: how steeply the probability leaves 0.5."""
    origin: Origin | None = None
    """Where it comes from; None only for a point that nothing chose."""

    @property
    def threshold(self) -> float:
        """The threshold as a probability of the raw head."""
        return 1.0 / (1.0 + math.exp(-self.logit))

    def fold(self, head: LinearHead) -> LinearHead:
        """The binary head whose probability is at least 0.5 exactly where the raw logit reaches the threshold."""
        return replace(
            head,
            weight=(head.weight * self.scale).astype(np.float32),
            bias=((head.bias.astype(np.float64) - self.logit) * self.scale).astype(np.float32),
        )


def linear_graph(head: LinearHead, binary: bool) -> onnx.ModelProto:
    """The head as ONNX: `embeddings` (batch, dim) float32 -> `label` (batch,) int64, `probabilities` [{class: p}].

    The form is skl2onnx's for a scikit-learn classifier with ZipMap, which the serving side reads.
    """
    classes, dim = (2 if binary else len(head.bias)), head.weight.shape[1]
    nodes = [helper.make_node("Gemm", ["embeddings", "weight", "bias"], ["logits"], transB=1)]
    constants = [numpy_helper.from_array(head.weight, "weight"), numpy_helper.from_array(head.bias, "bias")]
    if binary:
        # The label comes from the probability, not from the logit's sign: rounding must not part the two.
        constants += [
            numpy_helper.from_array(np.array(value, np.float32), name) for name, value in (("one", 1), ("half", 0.5))
        ]
        constants += [numpy_helper.from_array(np.array([-1], dtype=np.int64), "flat")]
        nodes += [
            helper.make_node("Sigmoid", ["logits"], ["attack"]),
            helper.make_node("Sub", ["one", "attack"], ["benign"]),
            helper.make_node("Concat", ["benign", "attack"], ["scores"], axis=1),
            helper.make_node("GreaterOrEqual", ["attack", "half"], ["flagged"]),
            helper.make_node("Reshape", ["flagged", "flat"], ["flagged_flat"]),
            helper.make_node("Cast", ["flagged_flat"], ["label"], to=TensorProto.INT64),
        ]
    else:
        nodes += [
            helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
            helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
        ]
    class_numbers = list(range(classes))
    nodes.append(
        helper.make_node("ZipMap", ["scores"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=class_numbers)
    )
    maps = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, shape=None))
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", dim])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
            helper.make_value_info("probabilities", helper.make_sequence_type_proto(maps)),
        ],
        constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="raxe-distill")
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return model


def head_path(folder: Path, name: str) -> Path:
    """Where a head stands in a checkpoint or serving folder."""
    return folder / f"classifier_{name}.onnx"


def write_linear_heads(folder: Path, heads: Mapping[str, LinearHead], point: OperatingPoint) -> None:
    """Writes the three heads, the operating point folded into the binary one."""
    for name in HEADS:
        head = point.fold(heads[name]) if name == "binary" else heads[name]
        head_path(folder, name).write_bytes(linear_graph(head, name == "binary").SerializeToString())


@dataclass(frozen=True)
class HeadScores:
    """Probabilities of some texts."""

    attack: NDArray[np.float64]  # (texts,)
    family: NDArray[np.floating]  # (texts, families)
    subfamily: NDArray[np.floating]  # (texts, sub-families)


class HeadSet:
    """The three stored heads, run by onnxruntime."""

    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # microseconds of work: a second thread only costs
        options.log_severity_level = 3
        self._sessions = {
            name: onnxruntime.InferenceSession(str(head_path(folder, name)), options, ["CPUExecutionProvider"])
            for name in HEADS
        }
        self.dimension = int(self._sessions["binary"].get_inputs()[0].shape[1])

    def __call__(self, embeddings: NDArray[np.float32]) -> HeadScores:
        """embeddings: (texts, dim) float32."""
        binary, family, subfamily = (
            np.array([list(row.values()) for row in session.run(["probabilities"], {"embeddings": embeddings})[0]])
            for session in self._sessions.values()
        )
        return HeadScores(binary[:, 1], family, subfamily)
