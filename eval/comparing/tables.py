"""The cells of a comparison's tables, in sensible digits."""

from __future__ import annotations

from collections.abc import Mapping

from eval.cells import NONE, Cells, amount, interval, share
from eval.schema.comparison import Change, Part, Peer, Ratio

FIGURES = {
    "binary_f1": "F1",
    "binary_precision": "precision",
    "binary_recall": "recall",
    "false_positive_rate": "FPR",
    "false_negative_rate": "FNR",
    "family_f1": "family F1",
    "subfamily_f1": "sub-family F1",
    "auroc": "AUROC",
    "average_precision": "average precision",
    "recall_at_1_percent_fpr": "recall at 1 % FPR",
    "expected_calibration_error": "calibration error",
    "brier_score": "Brier score",
}
FIGURE_HEAD = ("Figure", "Before", "After", "Difference", "95 % interval", "p", "p, Holm")
TEST_HEAD = ("Decisions on", "Only before right", "Only after right", "p, McNemar", "p, Holm")
FLIP_HEAD = ("Flips", "Texts")
PART_HEAD = ("", "Attacks", "Recall", "Difference", "Benign", "FPR", "Difference", "Now right", "Now wrong")
RIGHT_HEAD = ("Family", "Texts", "Right before", "Right after", "Now right", "Now wrong")
COST_HEAD = ("Cost", "Before", "After", "Ratio", "95 % interval")


def figure_rows(peer: Peer) -> Cells:
    """One row a figure that the texts can say."""
    return [
        (
            FIGURES[name],
            share(change.before, NONE),
            share(change.after, NONE),
            signed(change.difference),
            span(change),
            p_value(change.p_value),
            p_value(change.adjusted_p_value),
        )
        for name, change in peer.figures.items()
        if change.before is not None or change.after is not None
    ]


def test_rows(peer: Peer) -> Cells:
    """McNemar's tests."""
    return [
        (name, str(of.only_before_right), str(of.only_after_right), p_value(of.p_value), p_value(of.adjusted_p_value))
        for name, of in peer.mcnemar.items()
    ]


def flip_rows(peer: Peer) -> Cells:
    """How many texts of each kind."""
    return [(kind, f"{len(texts):,}") for kind, texts in peer.flips.items()]


def part_rows(parts: Mapping[str, Part]) -> Cells:
    """One row a family or source; shares are before -> after."""
    return [
        (
            name,
            str(part.before.counts.tp + part.before.counts.fn),
            _both(part.before.recall, part.after.recall),
            signed(part.recall_difference),
            str(part.before.counts.fp + part.before.counts.tn),
            _both(part.before.false_positive_rate, part.after.false_positive_rate),
            signed(part.false_positive_rate_difference),
            str(part.now_right),
            str(part.now_wrong),
        )
        for name, part in parts.items()
    ]


def right_rows(parts: Mapping[str, Part]) -> Cells:
    """The same in few columns: the share of right decisions."""
    return [
        (
            name,
            str(part.before.counts.rows),
            *(f"{(of.counts.tp + of.counts.tn) / of.counts.rows:.4f}" for of in (part.before, part.after)),
            str(part.now_right),
            str(part.now_wrong),
        )
        for name, part in parts.items()
    ]


def cost_rows(peer: Peer) -> Cells:
    """Size and latency."""
    rows = [_ratio("size, MB", peer.size_mb)]
    if (timed := peer.latency) is not None:
        rows += [
            _ratio("latency P50, ms", timed.p50),
            _ratio("latency P95, ms", timed.p95),
            _ratio("reference workload, ms", timed.reference),
            _ratio("latency P50, reference workloads", timed.p50_normalised),
            _ratio("latency P95, reference workloads", timed.p95_normalised),
        ]
    return rows


def signed(value: float | None) -> str:
    """A difference of shares, with its sign."""
    return NONE if value is None else f"{value:+.4f}"


def p_value(value: float | None) -> str:
    """Two digits."""
    return NONE if value is None else f"{value:.2g}"


def span(change: Change) -> str:
    """The interval of a difference."""
    return interval(change.interval, signed)


def _both(before: float | None, after: float | None) -> str:
    return NONE if before is None else f"{share(before)} -> {share(after)}"


def _ratio(name: str, of: Ratio) -> tuple[str, ...]:
    ratio = NONE if of.ratio is None else f"{of.ratio:.3f}"
    return (name, amount(of.before), amount(of.after), ratio, interval(of.interval, lambda end: f"{end:.3f}"))
