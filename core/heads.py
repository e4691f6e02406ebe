"""The classifiers on the embedding, stored as ONNX: binary, family, sub-family, with the operating point built in."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from core.calibration import Piecewise, stepped

HEADS = ("binary", "family", "subfamily")


@dataclass(frozen=True)
class LinearHead:
    """logits = embedding @ weight.T + bias; one row for the binary head (attack), one per class otherwise."""

    weight: NDArray[np.float32]  # (classes, dim)
    bias: NDArray[np.float32]  # (classes,)

    @property
    def dimension(self) -> int:
        return int(self.weight.shape[1])

    @property
    def classes(self) -> int:
        return len(self.bias)

    def logits(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """embeddings (texts, dim) -> (texts, classes)."""
        return embeddings @ self.weight.T + self.bias


@dataclass(frozen=True)
class GraphHead:
    """A head that is no single product (trees, layers), as the ONNX graph of its raw logits."""

    graph: bytes
    """`embeddings` (batch, dim) float32 -> `logits` (batch, classes); the binary head has one."""
    dimension: int
    classes: int

    def logits(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """embeddings (texts, dim) -> (texts, classes), as the served graph computes them."""
        return _session(self.graph).run(["logits"], {"embeddings": embeddings})[0]


Head = LinearHead | GraphHead


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
    knots: tuple[tuple[float, float], ...] = ()
    """In place of `scale`: the served log-odds at these raw logits, straight in between; one is (logit, 0)."""

    @property
    def threshold(self) -> float:
        """The threshold as a probability of the raw head."""
        return 1.0 / (1.0 + math.exp(-self.logit))

    @property
    def curve(self) -> Piecewise | None:
        """What `knots` say, with a small step up at the threshold; None where there are none."""
        return stepped(self.knots, self.logit) if self.knots else None

    def fold(self, head: LinearHead) -> LinearHead:
        """The binary head whose probability is at least 0.5 exactly where the raw logit reaches the threshold."""
        return replace(
            head,
            weight=(head.weight * self.scale).astype(np.float32),
            bias=((head.bias.astype(np.float64) - self.logit) * self.scale).astype(np.float32),
        )

    def served(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Attack probabilities that the exported binary head gives for raw logits; both (texts,)."""
        curve = self.curve
        if curve is not None:
            moved = curve(logits.astype(np.float32)[:, None])[:, 0].astype(np.float64)
        else:
            moved = (logits.astype(np.float64) - self.logit) * self.scale
        return 1.0 / (1.0 + np.exp(-np.clip(moved, -500, 500)))


def head_path(folder: Path, name: str) -> Path:
    """Where a head stands in a checkpoint or serving folder."""
    return folder / f"classifier_{name}.onnx"


@dataclass(frozen=True)
class HeadScores:
    """Probabilities of some texts."""

    attack: NDArray[np.float64]  # (texts,)
    family: NDArray[np.floating]  # (texts, families)
    subfamily: NDArray[np.floating]  # (texts, sub-families)


class HeadSet:
    """The three stored heads, run by onnxruntime."""

    def __init__(self, folder: Path) -> None:
        self._sessions = [_session(str(head_path(folder, name))) for name in HEADS]
        self.dimension = int(self._sessions[0].get_inputs()[0].shape[1])

    def __call__(self, embeddings: NDArray[np.float32]) -> HeadScores:
        """embeddings: (texts, dim) float32."""
        binary, family, subfamily = (
            _table(session.run(["probabilities"], {"embeddings": embeddings})[0]) for session in self._sessions
        )
        return HeadScores(binary[:, 1], family, subfamily)


def _session(model: str | bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # microseconds of work: a second thread only costs
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])


def _table(probabilities: Any) -> NDArray[np.float64]:
    """(texts, classes) of either form: the maps that ZipMap gives, or an array."""
    rows = [list(row.values()) for row in probabilities] if isinstance(probabilities, list) else probabilities
    return np.asarray(rows, dtype=np.float64)
