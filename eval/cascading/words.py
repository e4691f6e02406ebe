"""A cascade in sentences and cells."""

from __future__ import annotations

from collections.abc import Sequence

from eval.cells import NOT_MEASURED, Cells, amount, interval, share
from eval.comparing.tables import p_value, signed, span
from eval.schema.cascade import Cascade, Step, Time

HEAD = ("Setting", "Reach the model", "Mean ms", "P95 ms", "Mean, ratio", "F1", "Difference", "95 % interval", "p",
        "Recall", "FPR", "Mean", "F1 loss")  # fmt: skip
LAYER_HEAD = ("Setting", "Benign up to", "Attack from", "Called benign", "attacks among", "Called attack",
              "benign among", "Lost", "Gained", "Its own mean ms", "P50 ms", "P95 ms")  # fmt: skip
ALONE = "model alone"
ON_SCREEN = (0, 1, 2, 3, 5, 7, 11, 12)  # columns of the first table that fit a terminal …
LAYER_ON_SCREEN = (0, 3, 4, 5, 6, 7, 8, 9, 11)  # … and of the second


def rows(cascade: Cascade) -> Cells:
    """The model alone, then each setting; differences are the whole's less the model's."""
    alone = cascade.alone
    first = (ALONE, "100 %", *_times(cascade.alone_time), share(alone.binary_f1), *("",) * 3)
    found = [(*first, share(alone.binary_recall), share(alone.false_positive_rate), "", "")]
    for step in cascade.steps:
        f1, recall, rate = (step.figures[name] for name in ("binary_f1", "binary_recall", "false_positive_rate"))
        found.append(
            (
                step.name,
                f"{step.reach:.1%}",
                *_times(step.time),
                share(f1.after),
                signed(f1.difference),
                span(f1),
                p_value(f1.p_value),
                share(recall.after),
                share(rate.after),
                step.judgements["mean_ms"],
                step.judgements["f1_loss"],
            )
        )
    return found


def on_screen(cells: Sequence[tuple[str, ...]], columns: Sequence[int]) -> Cells:
    """The columns that a terminal has room for."""
    return [tuple(row[place] for place in columns) for row in cells]


def _times(time: Time | None) -> tuple[str, str, str]:
    if time is None:
        return (NOT_MEASURED,) * 3
    ratio = f"{time.mean_ratio.value:.3f} ({interval(time.mean_ratio.interval, lambda end: f'{end:.3f}')})"
    return amount(time.mean_ms), amount(time.p95_ms), ratio


def _own_times(time: Time | None) -> tuple[str, str, str]:
    if time is None:
        return (NOT_MEASURED,) * 3
    return amount(time.mean_ms), amount(time.p50_ms), amount(time.p95_ms)


def layer_rows(cascade: Cascade) -> Cells:
    """What the layer decides, where that is wrong, and what its own judgement takes."""
    return [
        (
            step.name,
            f"{step.benign_at:.2f}",
            f"{step.attack_at:.2f}",
            *(f"{count:,}" for count in (step.called_benign, step.missed, step.called_attack, step.alarmed)),
            f"{step.lost:,}",
            f"{step.gained:,}",
            *_own_times(step.layer_time),
        )
        for step in cascade.steps
    ]


def title(cascade: Cascade) -> str:
    """What stands before what."""
    return f"{cascade.model.name} behind {cascade.first.name if cascade.first else 'its first layer'}"


def how(cascade: Cascade) -> str:
    """What was done, and how to read the tables."""
    views = f"decoded views are read {cascade.decode}" if cascade.decode else "decoded views are not read"
    limits = cascade.limits
    return (
        f"{cascade.rows:,} texts of {cascade.split} ({cascade.attacks:,} attacks, {cascade.benign:,} benign); {views}."
        f" Differences are the whole less the model alone, with 95 % intervals from a paired bootstrap of"
        f" {cascade.repeats:,} resamples over {cascade.clusters:,} near-duplicate clusters. Calls were interleaved:"
        " each text went to the model alone, to every setting and to every layer by itself in turn, batch 1. A"
        " setting meets"
        f" {limits['mean_ms']:g} ms when the interval of its mean lies below, and an F1 loss of {limits['f1_loss']:g}"
        " when the interval of the difference ends above its negative. Lost and gained: decisions that only the model"
        " alone, or only the whole, has right. A layer's own times are those of its verdict on every text, the model"
        " left out."
    )


def remarks(cascade: Cascade) -> list[str]:
    """What is to be said beside the tables."""
    wavered = [cascade.noise.sentence] if cascade.noise else []
    return [*(_sentence(step) for step in cascade.steps), *wavered, *cascade.notes]


def _sentence(step: Step) -> str:
    f1 = step.figures["binary_f1"]
    changed = "F1 cannot be said" if f1.difference is None else f"F1 {signed(f1.difference)} ({span(f1)})"
    spent = "" if step.time is None else f", {step.time.mean_ratio.value:.2f} of the mean time"
    return f"{step.name}: {step.reach:.1%} of the texts reach the model{spent}; {changed}."
