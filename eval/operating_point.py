"""The operating point: threshold and calibration of the binary logit, from validation only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from core.heads import OperatingPoint, Origin
from core.schema import Heads
from eval.metrics import confusion
from eval.metrics.thresholds import threshold_at_best_f1, threshold_at_fpr, threshold_at_least_cost


def threshold(logits: NDArray[np.floating], labels: NDArray[np.int64], heads: Heads) -> float:
    """The threshold that `heads.threshold` asks for, as a logit; both arrays (rows,).

    UserError where a class is missing or a logit is NaN.
    """
    match heads.threshold:
        case "target_fpr":
            return threshold_at_fpr(labels, logits, heads.max_false_positive_rate, heads.safety_margin)
        case "best_f1":
            return threshold_at_best_f1(labels, logits)
        case "cost":
            return threshold_at_least_cost(labels, logits, heads.false_positive_cost, heads.false_negative_cost)


def rule(heads: Heads) -> str:
    """The rule of `heads.threshold` in words, with its numbers."""
    match heads.threshold:
        case "target_fpr":
            margin = f" less a margin of {heads.safety_margin * 100:g} %" if heads.safety_margin else ""
            return f"highest recall with FPR < {heads.max_false_positive_rate:g}{margin}"
        case "best_f1":
            return "highest F1"
        case "cost":
            return f"least cost, {heads.false_positive_cost:g} a false positive, {heads.false_negative_cost:g} a miss"


def fit(
    logits: NDArray[np.floating],
    labels: NDArray[np.int64],
    heads: Heads,
    fingerprint: str = "",
    split: str = "validation",
) -> OperatingPoint:
    """Threshold, Platt's slope and where they come from; `fingerprint` is that of the rows.

    logits: raw attack logits (rows,); labels: 0 or 1 (rows,). UserError where a class is missing or a logit is NaN.
    The slope is fitted by Platt scaling (Platt 1999): sigmoid(slope * z + offset) to the labels; the offset gives way
    to the threshold, which must stand at 0.5.
    """
    wide = np.asarray(logits, dtype=np.float64)
    chosen = float(threshold(wide, labels, heads))
    slope = float(LogisticRegression().fit(wide[:, None], labels).coef_[0, 0])
    matrix = confusion(labels, wide >= chosen)
    origin = Origin(
        rule=rule(heads),
        split=split,
        fingerprint=fingerprint,
        rows=matrix.rows,
        attacks=matrix.tp + matrix.fn,
        f1=matrix.f1,
        recall=matrix.recall,
        false_positive_rate=matrix.false_positive_rate,
    )
    # A head that ranks attacks below benign texts would be turned upside down: leave its slope, the report shows it.
    return OperatingPoint(chosen, slope if slope > 0 else 1.0, origin)
