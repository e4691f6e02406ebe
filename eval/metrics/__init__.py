"""Classification arithmetic in plain numpy: what is right, what is wrong, how sure that is."""

from eval.metrics.calibration import expected_calibration_error
from eval.metrics.counts import Confusion, confusion, macro_f1
from eval.metrics.intervals import wilson
from eval.metrics.ranking import auroc, average_precision

__all__ = [
    "Confusion",
    "auroc",
    "average_precision",
    "confusion",
    "expected_calibration_error",
    "macro_f1",
    "wilson",
]
