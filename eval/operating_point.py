"""The operating point: threshold and calibration of the binary logit, from validation only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from core.heads import OperatingPoint
from core.schema import Heads
from eval.metrics import threshold_at_fpr


def fit(logits: NDArray[np.floating], labels: NDArray[np.int64], heads: Heads) -> OperatingPoint:
    """The lowest threshold that keeps the false-positive rate, and Platt's slope, on validation rows.

    logits: raw attack logits (rows,); labels: 0 or 1 (rows,). UserError where a class is missing or a logit is NaN.
    The slope is fitted by Platt scaling (Platt 1999): sigmoid(slope * z + offset) to the labels; the offset gives way
    to the threshold, which must stand at 0.5.
    """
    wide = np.asarray(logits, dtype=np.float64)
    threshold = threshold_at_fpr(labels, wide, heads.max_false_positive_rate, heads.safety_margin)
    slope = float(LogisticRegression().fit(wide[:, None], labels).coef_[0, 0])
    # A head that ranks attacks below benign texts would be turned upside down: leave its slope, the report shows it.
    return OperatingPoint(float(threshold), slope if slope > 0 else 1.0, heads.max_false_positive_rate)
