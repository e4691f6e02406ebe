"""The one file that writes a pickle, because the .raxe bundle's consumer reads no other form; nothing here loads one.

What it writes are plain scikit-learn objects with our weights in them, so that a consumer needs nothing of ours.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import LabelEncoder

from core.calibration import Temperature
from core.checkpoint import Classifier
from core.clusters import AttackClusters
from core.errors import UserError
from core.heads import LinearHead

REMEDY = (
    "a raxe-bundle holds logistic regressions alone: fit such heads (python -m distill.fit_heads … heads.kind=logistic"
    " heads.calibration=sigmoid), or leave raxe-bundle out of export.layouts"
)


def refuse(served: Classifier[LinearHead]) -> None:
    """Raises UserError where a calibration is no shift and slope."""
    if served.point.knots or not all(isinstance(found, Temperature) for found in served.calibrations.values()):
        raise UserError(f"the heads are calibrated in pieces (heads.calibration: isotonic), and {REMEDY}")


def classifier(served: Classifier[LinearHead]) -> bytes:
    """classifier.joblib: the operating point is shifted into `binary_clf`, whose 0.5 is the threshold of validation."""
    refuse(served)
    heads, taxonomy = served.heads, served.taxonomy
    slopes = {name: found.slope for name, found in served.calibrations.items() if isinstance(found, Temperature)}
    folded = served.point.fold(heads["binary"])
    content: dict[str, Any] = {"binary_clf": _regression(folded.weight, folded.bias, 2)}
    for name in ("family", "subfamily"):
        slope, head = slopes.get(name, 1.0), heads[name]
        content[f"{name}_clf"] = _several(head.weight * slope, head.bias * slope)
    content["family_encoder"] = _encoder(taxonomy.families)
    content["subfamily_encoder"] = _encoder(taxonomy.subfamilies)
    return _dump(content)


def clusters(found: AttackClusters | None, dimension: int) -> bytes:
    """attack_clusters.joblib: centroids (clusters, dim), each of length 1, and one attack of each cluster."""
    if found is None:
        return _dump({"centroids": np.zeros((0, dimension), np.float32), "examples": []})
    return _dump({"centroids": found.centres, "examples": [asdict(example) for example in found.examples]})


def _several(weight: NDArray[np.floating], bias: NDArray[np.floating]) -> LogisticRegression | DummyClassifier:
    """One of several classes: (classes, dim), (classes,)."""
    if len(bias) == 1:  # there is nothing to decide, and a regression needs two
        return DummyClassifier(strategy="most_frequent").fit(np.zeros((1, weight.shape[1])), [0])
    if len(bias) == 2:  # scikit-learn keeps the difference alone
        return _regression(weight[1:] - weight[:1], bias[1:] - bias[:1], 2)
    return _regression(weight, bias, len(bias))


def _regression(weight: NDArray[np.floating], bias: NDArray[np.floating], classes: int) -> LogisticRegression:
    """As if it had been fitted to these."""
    model = LogisticRegression()
    model.coef_ = np.ascontiguousarray(weight, np.float64)
    model.intercept_ = np.ascontiguousarray(bias, np.float64)
    model.classes_ = np.arange(classes)
    model.n_features_in_ = weight.shape[1]
    model.n_iter_ = np.zeros(1, np.int32)
    model.multi_class = "auto"  # scikit-learn before 1.8 asks for it
    return model


def _encoder(names: Sequence[str]) -> LabelEncoder:
    encoder = LabelEncoder()
    encoder.classes_ = np.array(names, dtype=str)
    return encoder


def _dump(content: Mapping[str, Any]) -> bytes:
    stream = io.BytesIO()
    joblib.dump(dict(content), stream)
    return stream.getvalue()
