"""How sure a cost is: paired with the whole encoder over resampled near-duplicate clusters of the validation texts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.metrics import bootstrap
from eval.significance import paired_difference
from prune.judge import Judge, Worth

REPEATS, SEED = 1000, 13
Interval = tuple[float, float]
"""95 %, percentiles of the resamples."""


@dataclass(frozen=True)
class Cost(Worth):
    """What is left without one part, and intervals of what that loses; a threshold stays where all texts put it."""

    f1_lost_interval: Interval
    f1_as_served_lost_interval: Interval
    auroc_lost_interval: Interval


class Pairing:
    """A judge that says how sure it is: every encoder meets the same resamples as the whole one."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.weights = bootstrap.resample(judge.labels, judge.groups, REPEATS, SEED)  # (repeats, texts)
        self.whole, self.resampled = judge(judge.whole), self._resampled(judge.whole)

    def __call__(self, embeddings: NDArray[np.float32]) -> Cost:
        """embeddings: (texts, dim), in the order of the judge's batches."""
        worth, resampled = self.judge(embeddings), self._resampled(embeddings)
        f1, served, auroc = (
            paired_difference(whole, resampled[name], getattr(self.whole, name) - getattr(worth, name)).interval
            for name, whole in self.resampled.items()
        )
        return Cost(**vars(worth), f1_lost_interval=f1, f1_as_served_lost_interval=served, auroc_lost_interval=auroc)

    def _resampled(self, embeddings: NDArray[np.float32]) -> dict[str, bootstrap.Figures]:
        """Figures in every resample, by their names in `Worth`."""
        logits, labels = self.judge.logits(embeddings), self.judge.labels
        chosen, served = logits >= self.judge.threshold(logits), logits >= self.judge.point.logit
        return {
            "f1": bootstrap.f1(labels, chosen, self.weights),
            "f1_as_served": bootstrap.f1(labels, served, self.weights),
            "auroc": bootstrap.auroc(labels, logits, self.weights),
        }
