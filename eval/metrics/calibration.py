"""Whether a probability means what it says."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from core.errors import UserError
from eval.metrics.checks import both_classes


def expected_calibration_error(labels: ArrayLike, probabilities: ArrayLike, bins: int = 10) -> float:
    """Mean distance between probability and share of attacks in equally wide bins, weighted by rows (Naeini 2015)."""
    truth, values = both_classes(labels, probabilities)
    if values.min() < 0.0 or values.max() > 1.0:
        raise UserError(f"probabilities lie in 0 to 1, not in {values.min():g} to {values.max():g}")
    place = np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], values)
    gap = np.bincount(place, values - truth, minlength=bins)  # (bins,), summed differences
    return float(np.abs(gap).sum() / len(values))
