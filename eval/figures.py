"""Every accuracy figure of predictions: on the rows themselves, and over resamples of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from core.rows import Rows
from eval.kept import Predictions
from eval.metrics import (
    auroc,
    average_precision,
    bootstrap,
    brier_score,
    confusion,
    expected_calibration_error,
    macro_f1,
    recall_at_fpr,
)

# The operating point is built into the head, so every consumer's 0.5 is the right threshold.
DECISION = 0.5
SUBFAMILY_MINIMUM_ROWS = 20


def decisions(predictions: Predictions) -> NDArray[np.bool_]:
    """Attack or benign, (n,). UserError: a probability is NaN, which would silently count as benign, or infinite."""
    probability = np.asarray(predictions.attack_probability)
    if wrong := int((~np.isfinite(probability)).sum()):
        raise UserError(f"{wrong} of {len(probability)} attack probabilities are NaN or infinite: mend the model")
    return probability >= DECISION


def figures(rows: Rows, predictions: Predictions) -> dict[str, float | None]:
    """The figures of `eval.schema.Accuracy` by their names; those that the rows cannot say are None."""
    labels, probability = rows.labels, predictions.attack_probability
    matrix = confusion(labels, decisions(predictions))
    attacks, benign = bool(labels.any()), not labels.all()
    both = attacks and benign
    return {
        "binary_f1": matrix.f1 if both else None,
        "binary_precision": matrix.precision if both else None,
        "binary_recall": matrix.recall if attacks else None,
        "family_f1": macro_f1(rows.families, predictions.family) if both else None,
        "subfamily_f1": macro_f1(rows.subfamilies, predictions.subfamily, SUBFAMILY_MINIMUM_ROWS) if both else None,
        "false_positive_rate": matrix.false_positive_rate if benign else None,
        "false_negative_rate": matrix.false_negative_rate if attacks else None,
        "auroc": auroc(labels, probability) if both else None,
        "average_precision": average_precision(labels, probability) if both else None,
        "recall_at_1_percent_fpr": recall_at_fpr(labels, probability, 0.01) if both else None,
        "expected_calibration_error": expected_calibration_error(labels, probability),
        "brier_score": brier_score(labels, probability),
    }


def resampled(rows: Rows, predictions: Predictions, weights: bootstrap.Weights) -> dict[str, bootstrap.Figures]:
    """Every figure that is not None, by its name, in each resample (repeats,).

    weights: from `bootstrap.resample` of these rows, (repeats, n); two models are compared under the same.
    """
    labels, probability, said = rows.labels, predictions.attack_probability, decisions(predictions)
    found = {
        "expected_calibration_error": bootstrap.expected_calibration_error(labels, probability, weights),
        "brier_score": bootstrap.brier_score(labels, probability, weights),
    }
    if labels.any():
        found["binary_recall"] = bootstrap.recall(labels, said, weights)
        found["false_negative_rate"] = 1.0 - found["binary_recall"]
    if not labels.all():
        found["false_positive_rate"] = bootstrap.false_positive_rate(labels, said, weights)
    if labels.any() and not labels.all():
        found["binary_f1"] = bootstrap.f1(labels, said, weights)
        found["binary_precision"] = bootstrap.precision(labels, said, weights)
        found["family_f1"] = bootstrap.macro_f1(rows.families, predictions.family, weights)
        found["auroc"] = bootstrap.auroc(labels, probability, weights)
        found["average_precision"] = bootstrap.average_precision(labels, probability, weights)
        found["recall_at_1_percent_fpr"] = bootstrap.recall_at_fpr(labels, probability, weights, 0.01)
        if max(Counter(rows.subfamilies).values()) >= SUBFAMILY_MINIMUM_ROWS:
            true, named = rows.subfamilies, predictions.subfamily
            found["subfamily_f1"] = bootstrap.macro_f1(true, named, weights, SUBFAMILY_MINIMUM_ROWS)
    return found
