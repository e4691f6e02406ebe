"""How the log-scores of an ensemble's members become one: linear heads on them (stacking: Wolpert 1992)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from core.errors import UserError
from core.heads import LinearHead


def logistic_weights(log_odds: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
    """Weights (members,) and bias of the blend; log_odds: (rows, members).

    UserError where a weight is negative: such a member only takes away from the others, and blends turned upside
    down are not what an ensemble means.
    """
    model = LogisticRegression(max_iter=1000).fit(log_odds, labels)
    weights = np.asarray(model.coef_[0], np.float64)
    if (weights < 0).any():
        listed = ", ".join(f"{weight:.2f}" for weight in weights)
        raise UserError(
            f"the members' weights on validation are {listed}: leave the negative ones out of ensemble.members, or"
            " average with ensemble.blend=mean"
        )
    return weights, float(model.intercept_[0])


def mean_weights(members: int) -> tuple[NDArray[np.float64], float]:
    """Equal weights and no bias."""
    return np.full(members, 1.0 / members), 0.0


def cross_fitted(
    log_odds: NDArray[np.float32], labels: NDArray[np.int64], groups: Sequence[str], folds: int
) -> NDArray[np.float64]:
    """Blended logits (rows,), each by weights that its own fold, and so its group, had no part in.

    UserError where there are fewer groups than folds.
    """
    count = len(set(groups))
    if count < folds:
        raise UserError(f"ensemble.folds is {folds}, but validation has {count} groups: lower it")
    logits = np.empty(len(labels))
    for fitting, held_out in GroupKFold(folds).split(log_odds, labels, groups):
        weights, bias = logistic_weights(log_odds[fitting], labels[fitting])
        logits[held_out] = log_odds[held_out] @ weights + bias
    return logits


def blended_heads(
    weights: NDArray[np.float64], bias: float, families: int, subfamilies: int, dimension: int
) -> dict[str, LinearHead]:
    """Heads on an ensemble's output (texts, dimension): the blend, and the mean log-probability of each class.

    The softmax of mean log-probabilities is the members' geometric mean. Columns behind the scores weigh nothing.
    """
    width, members = 1 + families + subfamilies, len(weights)
    heads = {}
    for name, first, classes in (("family", 1, families), ("subfamily", 1 + families, subfamilies)):
        weight = np.zeros((classes, dimension), np.float32)
        for member in range(members):
            start = member * width + first
            weight[:, start : start + classes] = np.eye(classes, dtype=np.float32) / members
        heads[name] = LinearHead(weight, np.zeros(classes, np.float32))
    binary = np.zeros((1, dimension), np.float32)
    binary[0, : members * width : width] = weights
    return {"binary": LinearHead(binary, np.array([bias], np.float32)), **heads}
