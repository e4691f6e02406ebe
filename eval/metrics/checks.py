"""What labels, decisions and scores must be before anything is counted."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import UserError


def binary(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.ndim != 1 or not np.isin(array, (0, 1)).all():
        raise UserError(f"{name} must be one row of 0 and 1; got shape {array.shape} with {np.unique(array)[:5]}")
    return array.astype(bool)


def same_length(first: NDArray, second: NDArray, name: str) -> None:
    if first.shape != second.shape:
        raise UserError(f"{first.shape[0]} labels do not go with {name} of shape {second.shape}")


def scored(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    truth, values = binary(labels, "labels"), np.asarray(scores, dtype=np.float64)
    same_length(truth, values, "scores")
    if not np.isfinite(values).all():
        raise UserError(f"{int((~np.isfinite(values)).sum())} of {len(values)} scores are NaN or infinite")
    return truth, values


def both_classes(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    truth, values = scored(labels, scores)
    if truth.all() or not truth.any():
        missing = "attack" if not truth.any() else "benign row"
        raise UserError(f"there is no {missing} among {len(truth)} rows: this needs both attacks and benign rows")
    return truth, values


def probable(labels: ArrayLike, probabilities: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    truth, values = scored(labels, probabilities)
    if not len(values):
        raise UserError("there is no row to compare a probability with")
    if values.min() < 0.0 or values.max() > 1.0:
        raise UserError(f"probabilities lie in 0 to 1, not in {values.min():g} to {values.max():g}")
    return truth, values
