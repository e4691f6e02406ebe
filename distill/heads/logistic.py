"""Logistic regression on the embeddings: scikit-learn's, as linear heads that training can go on from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression

from core.heads import LinearHead
from core.rows import IGNORED, Rows, Taxonomy
from core.schema import Heads

ABSENT = 20.0  # by how much the logit of a class without rows stays below the lowest bias: a probability of 0 in effect


def fit_logistic(
    embeddings: NDArray[np.float32] | csr_array,
    rows: Rows,
    taxonomy: Taxonomy,
    config: Heads,
    tolerance: float = 1e-4,
) -> dict[str, LinearHead]:
    """Binary, family and sub-family heads by scikit-learn, class-balanced for the attack classes.

    embeddings: (rows, dim) of the training rows; tolerance: at which the solver stops, scikit-learn's default.
    """
    targets = dict(zip(("binary", "family", "subfamily"), taxonomy.targets(rows), strict=True))
    sizes = {"family": len(taxonomy.families), "subfamily": len(taxonomy.subfamilies)}
    binary = LogisticRegression(C=config.inverse_regularisation, max_iter=2000, tol=tolerance)
    binary.fit(embeddings, targets["binary"])
    heads = {"binary": LinearHead(binary.coef_.astype(np.float32), binary.intercept_.astype(np.float32))}
    for name, classes in sizes.items():
        chosen = targets[name] != IGNORED
        heads[name] = _multinomial(embeddings[chosen], targets[name][chosen], classes, config, tolerance)
    return heads


def constant_head(dimension: int, present: NDArray[np.int64], classes: int) -> LinearHead:
    """The head that tells nothing apart: the classes `present` are equally likely, the others never."""
    bias = np.full(classes, -ABSENT, np.float32)
    bias[present] = 0.0
    return LinearHead(np.zeros((classes, dimension), np.float32), bias)


def _multinomial(
    embeddings: NDArray[np.float32] | csr_array,
    target: NDArray[np.int64],
    classes: int,
    config: Heads,
    tolerance: float,
) -> LinearHead:
    """One row per class; scikit-learn leaves out classes without rows, keeps one row for two and refuses one."""
    present = np.unique(target)
    head = constant_head(embeddings.shape[1], present, classes)
    if len(present) == 1:
        return head
    model = LogisticRegression(C=config.inverse_regularisation, max_iter=2000, tol=tolerance, class_weight="balanced")
    model.fit(embeddings, target)
    weight, bias = model.coef_, model.intercept_
    if len(bias) == 1:
        weight, bias = np.concatenate([np.zeros_like(weight), weight]), np.concatenate([np.zeros_like(bias), bias])
    head.weight[present], head.bias[present] = weight, bias
    head.bias[np.setdiff1d(np.arange(classes), present)] += bias.min()
    return head
