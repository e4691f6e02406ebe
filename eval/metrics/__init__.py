"""Classification arithmetic in plain numpy: what is right, what is wrong, how sure that is."""

from eval.metrics.calibration import Bar, brier_score, expected_calibration_error, reliability
from eval.metrics.counts import Confusion, confusion, macro_f1, validation_scores
from eval.metrics.intervals import (
    benign_needed,
    f1_interval,
    percentile_interval,
    quantile_interval,
    reflected_interval,
    required_false_positives,
    wilson,
)
from eval.metrics.ranking import auroc, average_precision, precision_recall_curve, recall_at_fpr, roc_curve

__all__ = [
    "Bar",
    "Confusion",
    "auroc",
    "average_precision",
    "benign_needed",
    "brier_score",
    "confusion",
    "expected_calibration_error",
    "f1_interval",
    "macro_f1",
    "percentile_interval",
    "precision_recall_curve",
    "quantile_interval",
    "recall_at_fpr",
    "reflected_interval",
    "reliability",
    "required_false_positives",
    "roc_curve",
    "validation_scores",
    "wilson",
]
