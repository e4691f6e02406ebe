"""Calibration of the family and sub-family heads on validation rows: one temperature, or a rising curve a class.

Validation rather than folds of the training rows: the encoder has seen those, so a head that has not is still too sure.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.isotonic import IsotonicRegression

from core.calibration import Calibration, Curve, Piecewise, Temperature
from core.heads import Head
from core.rows import Rows, Taxonomy
from core.schema import Heads

FEWEST_ROWS = 10  # of a class: isotonic regression on fewer is a jump from 0 to 1
HAIR = 1e-6  # of the raw probability kept in a calibrated one: no row has 0 for all classes, and level rows their order
WIDEST = np.log(100.0)  # a temperature lies between 1 / 100 and 100


def calibrate_classes(
    heads: Mapping[str, Head], embeddings: NDArray[np.float32], rows: Rows, taxonomy: Taxonomy, config: Heads
) -> dict[str, Calibration]:
    """What `heads.calibration` asks for of the family heads, by name; embeddings: (rows, dim) of the validation rows.

    Attacks of a family that training did not know are left out, and so is a head with nothing to tell apart.
    """
    if config.calibration == "none":
        return {}
    found: dict[str, Calibration] = {}
    for name, classes, named in (
        ("family", taxonomy.families, rows.families),
        ("subfamily", taxonomy.subfamilies, rows.subfamilies),
    ):
        number = {label: place for place, label in enumerate(classes)}
        known = np.flatnonzero([attack and label in number for attack, label in zip(rows.labels, named, strict=True)])
        if len(classes) == 1 or not len(known):
            continue
        logits = heads[name].logits(embeddings[known])
        target = np.array([number[named[row]] for row in known])
        found[name] = temperature(logits, target) if config.calibration == "sigmoid" else curves(logits, target)
    return found


def temperature(logits: NDArray[np.float32], target: NDArray[np.int64]) -> Temperature:
    """The slope of the logits (rows, classes) under which the targets (rows,) are likeliest (Guo et al. 2017).

    Shrunk like a slope of scikit-learn's logistic regression (C = 1), so that few rows make no class certain.
    """
    wide, row = logits.astype(np.float64), np.arange(len(target))

    def loss(log_slope: float) -> float:
        slope = np.exp(log_slope)
        return float(slope**2 / 2 - log_softmax(slope * wide, axis=1)[row, target].sum())

    best = minimize_scalar(loss, bounds=(-WIDEST, WIDEST), method="bounded").x
    return Temperature(float(np.float32(np.exp(best))))  # as it is stored


def curves(logits: NDArray[np.float32], target: NDArray[np.int64]) -> Piecewise:
    """Each class against the rest by isotonic regression (Zadrozny and Elkan 2002), for probabilities.

    A class with too few rows keeps its probabilities as they are, but for their sharing in the sum.
    """
    shares = softmax(logits.astype(np.float64), axis=1).astype(np.float32)  # (rows, classes)
    found = []
    for place, share in enumerate(shares.T):
        points = values = np.array([0.0, 1.0])
        if FEWEST_ROWS <= (target == place).sum() < len(target):
            model = IsotonicRegression(out_of_bounds="clip").fit(share, target == place)
            points, values = model.X_thresholds_, model.y_thresholds_
        found.append(Curve.through(points, values + HAIR * points, HAIR))
    return Piecewise.of(found)
