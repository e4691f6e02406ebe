"""How right the decisions are: figures, intervals, calibration, and the same for parts of the rows."""

from __future__ import annotations

from pydantic import model_validator

from eval.metrics import Confusion, wilson
from eval.schema.base import Interval, Value, agree


class Intervals(Value):
    """95 % intervals of the figures of the same name; None where the figure is None.

    Shares of counts have Wilson's interval, everything else a bootstrap over near-duplicate clusters, which is None
    also where nothing was resampled (the reports on a training's steps). A bootstrap sees no spread where no mistake
    was made; binary F1's is therefore at least as wide as Wilson's carried over to it.
    """

    binary_f1: Interval | None
    binary_precision: Interval | None
    binary_recall: Interval | None
    family_f1: Interval | None
    subfamily_f1: Interval | None
    false_positive_rate: Interval | None
    false_negative_rate: Interval | None
    auroc: Interval | None
    average_precision: Interval | None
    recall_at_1_percent_fpr: Interval | None
    expected_calibration_error: Interval | None
    brier_score: Interval | None


class Bin(Value):
    """One bar of the reliability curve: texts whose attack probability lies in `low` to `high`."""

    low: float
    high: float
    rows: int
    mean_probability: float | None
    attack_share: float | None


class Accuracy(Value):
    """How right the decisions are; every share follows from `confusion_matrix`.

    None: the set cannot say it. Recall needs attacks, the false-positive rate benign texts, everything that mixes the
    two (precision, F1, family F1, ranking) needs both.
    """

    binary_f1: float | None
    binary_precision: float | None
    binary_recall: float | None
    family_f1: float | None
    """Macro over all families of the rows, benign included, end to end."""
    subfamily_f1: float | None
    """Macro over the sub-families with at least 20 rows, end to end."""
    false_positive_rate: float | None
    false_negative_rate: float | None
    auroc: float | None
    average_precision: float | None
    recall_at_1_percent_fpr: float | None
    """Recall at the best threshold that flags at most 1 % of these very benign texts: a property of the ranking."""
    expected_calibration_error: float
    """Of the served probability, whose 0.5 is the operating point."""
    brier_score: float
    """Mean squared distance between the served probability and the label."""
    confusion_matrix: Confusion
    intervals: Intervals
    reliability: tuple[Bin, ...]

    @model_validator(mode="after")
    def _agrees(self) -> Accuracy:
        matrix = self.confusion_matrix
        attacks, benign = matrix.tp + matrix.fn, matrix.fp + matrix.tn
        both = attacks and benign
        expected = {
            "binary_f1": matrix.f1 if both else None,
            "binary_precision": matrix.precision if both else None,
            "binary_recall": matrix.recall if attacks else None,
            "false_positive_rate": matrix.false_positive_rate if benign else None,
            "false_negative_rate": matrix.false_negative_rate if attacks else None,
        }
        for name, counted in expected.items():
            agree(f"accuracy.{name}", getattr(self, name), counted)
        shares = {
            "binary_precision": wilson(matrix.tp, matrix.tp + matrix.fp) if both else None,
            "binary_recall": wilson(matrix.tp, attacks) if attacks else None,
            "false_positive_rate": wilson(matrix.fp, benign) if benign else None,
            "false_negative_rate": wilson(matrix.fn, attacks) if attacks else None,
        }
        for name, interval in shares.items():
            _agree_interval(f"accuracy.intervals.{name}", getattr(self.intervals, name), interval)
        agree("accuracy.reliability rows", sum(bar.rows for bar in self.reliability), matrix.rows)
        return self


class Slice(Value):
    """The decisions on a part of the rows."""

    counts: Confusion
    recall: float | None
    recall_interval: Interval | None
    false_positive_rate: float | None
    false_positive_rate_interval: Interval | None

    @classmethod
    def of(cls, counts: Confusion) -> Slice:
        attacks, benign = counts.tp + counts.fn, counts.fp + counts.tn
        return cls(
            counts=counts,
            recall=counts.recall if attacks else None,
            recall_interval=wilson(counts.tp, attacks) if attacks else None,
            false_positive_rate=counts.false_positive_rate if benign else None,
            false_positive_rate_interval=wilson(counts.fp, benign) if benign else None,
        )

    @model_validator(mode="after")
    def _agrees(self) -> Slice:
        attacks, benign = self.counts.tp + self.counts.fn, self.counts.fp + self.counts.tn
        agree("recall of a slice", self.recall, self.counts.recall if attacks else None)
        rate = self.counts.false_positive_rate if benign else None
        agree("false-positive rate of a slice", self.false_positive_rate, rate)
        _agree_interval(
            "recall interval of a slice", self.recall_interval, wilson(self.counts.tp, attacks) if attacks else None
        )
        given = self.false_positive_rate_interval
        _agree_interval(
            "false-positive rate interval of a slice", given, wilson(self.counts.fp, benign) if benign else None
        )
        return self


class Sensitivity(Value):
    """How a figure moves when one source is left out: most sources hold one label only."""

    lowest: float
    lowest_without: str
    highest: float
    highest_without: str


def _agree_interval(name: str, given: Interval | None, counted: Interval | None) -> None:
    for index in (0, 1):
        agree(name, given and given[index], counted and counted[index])
