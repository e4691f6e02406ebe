"""The kinds of head: each fitted on the training embeddings, balanced for the attack classes, and made a graph."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.utils.class_weight import compute_sample_weight

from core.heads import Head
from core.rows import IGNORED, Rows, Taxonomy
from core.schema import Heads
from distill.heads.graphs import graph_head
from distill.heads.logistic import constant_head, fit_logistic

Model: TypeAlias = RandomForestClassifier | HistGradientBoostingClassifier | MLPClassifier


def fit_heads(
    embeddings: NDArray[np.float32], rows: Rows, taxonomy: Taxonomy, config: Heads, seed: int
) -> Mapping[str, Head]:
    """Binary, family and sub-family heads of `config.kind`; `linear`, which knows no embeddings, means logistic.

    embeddings: (rows, dim) of the training rows. A class without rows gets a probability of 0 in effect.
    """
    if config.kind in ("linear", "logistic"):
        return fit_logistic(embeddings, rows, taxonomy, config)
    targets = dict(zip(("binary", "family", "subfamily"), taxonomy.targets(rows), strict=True))
    heads: dict[str, Head] = {
        "binary": graph_head(fit_model(embeddings, targets["binary"], config, config.binary_depth, seed, False), None)
    }
    for name, classes, depth in (
        ("family", len(taxonomy.families), config.family_depth),
        ("subfamily", len(taxonomy.subfamilies), config.subfamily_depth),
    ):
        chosen = targets[name] != IGNORED
        target = targets[name][chosen]
        present = np.unique(target)
        if len(present) == 1:
            heads[name] = constant_head(embeddings.shape[1], present, classes)
        else:
            heads[name] = graph_head(fit_model(embeddings[chosen], target, config, depth, seed, True), classes)
    return heads


def fit_model(
    embeddings: NDArray[np.float32], target: NDArray[np.int64], config: Heads, depth: int, seed: int, balanced: bool
) -> Model:
    """One classifier of `config.kind`; target: (rows,), at least two classes; balanced: every class weighs the same."""
    weights = compute_sample_weight("balanced" if balanced else None, target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `epochs` is a limit that was asked for
        match config.kind:
            case "random_forest":
                forest = RandomForestClassifier(config.trees, max_depth=depth, random_state=seed, n_jobs=-1)
                return forest.fit(embeddings, target, weights)
            case "gradient_boosting":
                boosting = HistGradientBoostingClassifier(
                    max_iter=config.trees,
                    max_depth=depth,
                    max_leaf_nodes=config.leaves,
                    learning_rate=config.learning_rate,
                    early_stopping=False,  # scikit-learn's `auto` changes its mind at 10,000 rows
                    random_state=seed,
                )
                return boosting.fit(embeddings, target, weights)
            case "mlp":
                return _fit_mlp(embeddings, target, weights, config, seed)
            case other:
                raise ValueError(f"no model is fitted for heads.kind {other!r}")


def _fit_mlp(
    embeddings: NDArray[np.float32],
    target: NDArray[np.int64],
    weights: NDArray[np.float64],
    config: Heads,
    seed: int,
) -> MLPClassifier:
    """Fitted at unit variance, where weights of ordinary size separate; the scale is folded into the first layer."""
    scale = np.float32(embeddings.shape[1] ** 0.5)
    model = MLPClassifier(
        config.hidden_sizes,
        alpha=1 / config.inverse_regularisation,
        max_iter=config.epochs,
        random_state=seed,
    )
    model.fit(embeddings * scale, target, weights)
    model.coefs_[0] = model.coefs_[0] * scale
    return model
