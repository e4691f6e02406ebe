"""The outcome of a comparison in sentences, and what they rest on."""

from __future__ import annotations

from eval.cells import share
from eval.comparing.tables import FIGURES, p_value, signed, span
from eval.gates import HIGHER_IS_BETTER
from eval.schema.comparison import Change, Comparison, Peer

SIGNIFICANT = 0.05


def sentence(comparison: Comparison, peer: Peer) -> str:
    """The outcome in words: by F1, else by what the set can say."""
    against = f"{peer.name} against {comparison.baseline}"
    name = next(
        (
            name
            for name in ("binary_f1", "binary_recall", "false_positive_rate")
            if peer.figures[name].difference is not None
        ),
        None,
    )
    if name is None:
        return f"{against}: the texts say nothing of either."
    change = peer.figures[name]
    numbers = f"{FIGURES[name]} {share(change.before)} -> {share(change.after)}, {signed(change.difference)}"
    near = f"95 % interval {span(change)}, p {p_value(change.adjusted_p_value)}"
    return f"{against}: {numbers} ({near}): {word(name, change)}."


def word(name: str, change: Change) -> str:
    """Better or worse where chance would hardly bring such a difference, at 5 %."""
    if change.difference is None or change.adjusted_p_value is None or change.adjusted_p_value > SIGNIFICANT:
        return "no difference shown"
    return "better" if (change.difference > 0) == (name in HIGHER_IS_BETTER) else "worse"


def caution(comparison: Comparison) -> str:
    """What the numbers rest on."""
    several = len(comparison.peers)
    holm = f" Holm's p-values are over the {several} checkpoints, figure by figure." if several > 1 else ""
    return (
        f"{comparison.rows:,} texts ({comparison.attacks:,} attacks, {comparison.benign:,} benign) of"
        f" {', '.join(comparison.splits)}. Differences are after minus before, with 95 % intervals and p-values from a"
        f" paired bootstrap of {comparison.repeats:,} resamples over {comparison.clusters:,} near-duplicate clusters;"
        f" McNemar's test takes every text as independent.{holm}"
    )


def latency_note(peer: Peer) -> str:
    """What must be known of the latencies, or why there are none."""
    if peer.latency is None:
        return f"No ratio of latencies: {peer.latency_reason}."
    return f"Latencies are of {peer.latency.caution.removesuffix('.')}."
