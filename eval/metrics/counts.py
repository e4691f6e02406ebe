"""Counts of right and wrong decisions, and the shares that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from eval.metrics.checks import binary, same_length


@dataclass(frozen=True)
class Confusion:
    """Counts of a binary decision, attack being positive; every rate is derived and 0.0 where nothing was counted."""

    tp: int
    fp: int
    tn: int
    fn: int

    @property
    def rows(self) -> int:
        return self.tp + self.fp + self.tn + self.fn

    @property
    def precision(self) -> float:
        return _share(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        return _share(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        return _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def false_positive_rate(self) -> float:
        return _share(self.fp, self.fp + self.tn)

    @property
    def false_negative_rate(self) -> float:
        return _share(self.fn, self.fn + self.tp)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def confusion(labels: ArrayLike, decisions: ArrayLike) -> Confusion:
    """Count labels (n,) against decisions (n,), both 0/1 or bool. UserError: other values or unequal lengths."""
    truth, said = binary(labels, "labels"), binary(decisions, "decisions")
    same_length(truth, said, "decisions")
    return Confusion(
        tp=int(np.sum(truth & said)), fp=int(np.sum(~truth & said)),
        tn=int(np.sum(~truth & ~said)), fn=int(np.sum(truth & ~said)),
    )  # fmt: skip


def validation_scores(labels: ArrayLike, decisions: ArrayLike) -> dict[str, float]:
    """What a manifest says of decisions on validation, by its names; as `confusion` takes them."""
    matrix = confusion(labels, decisions)
    return {
        "validation_f1": matrix.f1,
        "validation_precision": matrix.precision,
        "validation_recall": matrix.recall,
        "validation_false_positive_rate": matrix.false_positive_rate,
    }


def macro_f1(true: Sequence[str], predicted: Sequence[str], minimum_rows: int = 1) -> float | None:
    """Unweighted mean F1 over the classes with at least `minimum_rows` rows in `true`; None if there is none.

    A prediction of a class that is not averaged still costs the true class its recall.
    """
    truth, said = np.asarray(true, dtype=str), np.asarray(predicted, dtype=str)
    same_length(truth, said, "predicted classes")
    classes, counts = np.unique(truth, return_counts=True)
    kept = classes[counts >= max(minimum_rows, 1)]
    scores = [confusion(truth == name, said == name).f1 for name in kept]
    return float(np.mean(scores)) if scores else None
