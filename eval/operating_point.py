"""The operating point: threshold and calibration of the binary logit, from validation only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from core.calibration import GENTLE, no_lower
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


def slope(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Platt's slope (Platt 1999): sigmoid(slope * z + offset) fitted to the labels; both arrays (rows,).

    The offset gives way to the threshold, which must stand at 0.5.
    """
    fitted = float(LogisticRegression().fit(logits[:, None], labels).coef_[0, 0])
    # A head that ranks attacks below benign texts would be turned upside down: leave its slope, the report shows it.
    return fitted if fitted > 0 else 1.0


def knots(logits: NDArray[np.float64], labels: NDArray[np.int64], threshold: float) -> tuple[tuple[float, float], ...]:
    """Log-odds by isotonic regression (Zadrozny and Elkan 2002) less those at the threshold, at raw logits (rows,).

    Shares keep 1 / (rows + 2) from 0 and 1, so that log-odds are finite; a gentle slope keeps the ranks.
    """
    least = 1 / (len(labels) + 2)  # Laplace's rule of succession
    model = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit(logits, labels)
    points = np.union1d(model.X_thresholds_.astype(np.float32), np.float32(threshold)).astype(np.float64)
    share = model.predict(np.append(points, threshold))
    log_odds = np.log(share / (1 - share))
    values = log_odds[:-1] - log_odds[-1] + GENTLE * (points - threshold)
    values[points == np.float32(threshold)] = 0.0
    return tuple(zip(points.tolist(), values.tolist(), strict=True))


def fit(
    logits: NDArray[np.floating],
    labels: NDArray[np.int64],
    heads: Heads,
    fingerprint: str = "",
    split: str = "validation",
) -> OperatingPoint:
    """Threshold, calibration and where they come from; `fingerprint` is that of the rows.

    logits: raw attack logits (rows,); labels: 0 or 1 (rows,). UserError where a class is missing or a logit is NaN.
    """
    wide = np.asarray(logits, dtype=np.float64)
    chosen = float(threshold(wide, labels, heads))
    scale, curve = 1.0, tuple[tuple[float, float], ...]()
    match heads.calibration:
        case "sigmoid":
            scale = slope(wide, labels)
        case "isotonic":
            chosen = float(no_lower(chosen))
            curve = knots(wide, labels, chosen)
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
    return OperatingPoint(chosen, scale, origin, curve)
