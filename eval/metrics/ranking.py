"""How well scores rank attacks above benign texts, whatever the threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from eval.metrics.checks import both_classes


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Chance that an attack scores above a benign row, ties counting half (Mann-Whitney U from mid-ranks)."""
    truth, values = both_classes(labels, scores)
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle_rank = (np.cumsum(counts) - (counts - 1) / 2)[place]  # (n,), from 1
    attacks = int(truth.sum())
    rank_sum = float(middle_rank[truth].sum()) - attacks * (attacks + 1) / 2
    return rank_sum / (attacks * (len(truth) - attacks))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Sum over falling thresholds of the recall gained times the precision there; equal scores are one threshold."""
    truth, values = both_classes(labels, scores)
    order = np.argsort(-values, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    caught = np.cumsum(truth[order])[last_of_tie]
    gained = np.diff(caught, prepend=0) / truth.sum()
    return float(np.sum(gained * caught / (last_of_tie + 1)))
