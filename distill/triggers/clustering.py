"""Attack clusters by spherical k-means over the training attacks' embeddings."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from core.clusters import AttackClusters, Example, shortened
from core.rows import Rows

STARTS = 1  # k-means is started once: of hundreds of centres none has to be the best
ITERATIONS = 50


def drawn(rows: Rows, number: int, seed: int) -> Rows:
    """So many of the attacks, or all where there are no more."""
    attacks = np.flatnonzero(rows.labels == 1)
    if len(attacks) > number:
        attacks = np.sort(np.random.default_rng(seed).choice(attacks, number, replace=False))
    return rows.take(attacks)


def cluster(embeddings: NDArray[np.float32], attacks: Rows, clusters: int, seed: int) -> AttackClusters:
    """At most `clusters` centres of the attacks' embeddings (rows, dim), each row of length 1.

    On rows of length 1 k-means with centres brought back to length 1 is spherical k-means but for its steps (Dhillon
    and Modha 2001). Each centre's example is its nearest attack, and its sub-family that one's.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    count = min(clusters, len(np.unique(embeddings, axis=0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(count, n_init=STARTS, max_iter=ITERATIONS, random_state=seed).fit(embeddings)
    lengths = np.linalg.norm(found.cluster_centers_, axis=1, keepdims=True)
    centres = (found.cluster_centers_ / np.maximum(lengths, 1e-9)).astype(np.float32)
    members = np.bincount(found.labels_, minlength=count)
    nearest = (embeddings @ centres.T).argmax(0)  # (clusters,): rows
    texts = shortened([attacks.texts[row] for row in nearest])
    examples = tuple(
        Example(text, attacks.subfamilies[row], int(size))
        for text, row, size in zip(texts, nearest.tolist(), members.tolist(), strict=True)
    )
    order = np.argsort(-members, kind="stable")
    return AttackClusters(centres[order], tuple(examples[place] for place in order.tolist()))
