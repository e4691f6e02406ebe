"""The fidelity of a student in sentences, and what they rest on."""

from __future__ import annotations

from eval.cells import NONE, escape, interval, share, with_interval
from eval.schema.fidelity import Estimate, Fidelity


def estimated(of: Estimate | None) -> str:
    """The figure with its interval, three decimals, or a dash."""
    return NONE if of is None else with_interval(of.value, of.interval)


def finely(of: Estimate) -> str:
    """The same, four decimals: for what is small."""
    return f"{share(of.value)} ({interval(of.interval)})"


def sentence(fidelity: Fidelity) -> str:
    """How much is kept, in words: of the F1 where the set can say it, of the FPR, and of the decisions."""
    student, teacher, figures = fidelity.student.name, fidelity.teacher.name, fidelity.figures
    parts = []
    for name, called in (("binary_f1", "F1"), ("binary_recall", "recall")):
        if (kept := fidelity.kept[name]) is not None:
            both = f"{figures[name].after:.3f} of {figures[name].before:.3f}"
            parts.append(f"keeps {_percent(kept)} of the {called} of {teacher} ({both})")
            break
    rate = figures["false_positive_rate"]
    if rate.before is not None and rate.after is not None:
        parts.append(f"flags {rate.after:.2%} of the benign texts, {teacher} {rate.before:.2%}")
    of = fidelity.decisions["all"]
    right = "" if of.teacher_right_in_flips is None else f", the teacher right in {of.teacher_right_in_flips:.0%}"
    flips = f"{of.flips:,} flip{'' if of.flips == 1 else 's'}"
    parts.append(f"decides {_percent(of.agreement)} of all texts alike ({flips}{right})")
    return f"{student} {'; '.join(parts)}."


def _percent(of: Estimate) -> str:
    low, high = of.interval
    return f"{of.value:.1%} [{low:.1%}, {high:.1%}]"


def sampled(fidelity: Fidelity) -> str:
    """What the figures of the embeddings rest on."""
    of = fidelity.embeddings
    line = f"Embeddings are those of {of.texts:,} texts ({of.clusters:,} near-duplicate clusters), drawn at random."
    if (alike := of.similarities) is not None:
        line += (
            f" Similarities are cosines of {alike.pairs:,} pairs of texts from different clusters; their intervals come"
            f" from {alike.repeats:,} resamples of the clusters."
        )
    if of.cosine is not None:
        line += " A cosine to the teacher says something only of a student that was trained towards its embeddings."
    return line


def caution(fidelity: Fidelity) -> str:
    """What the numbers rest on, and what fidelity is."""
    return (
        "Fidelity is how well a student matches its teacher, right or wrong (Stanton et al. 2021); a flip can be a"
        f" gain. {fidelity.rows:,} texts ({fidelity.attacks:,} attacks, {fidelity.benign:,} benign) of"
        f" {fidelity.split}. Differences are student minus teacher, with 95 % intervals and p-values from a paired"
        f" bootstrap of {fidelity.repeats:,} resamples over {fidelity.clusters:,} near-duplicate clusters."
        " Probabilities are those served, each model's operating point standing at 0.5."
    )


def models(fidelity: Fidelity) -> str:
    """Which two they were, as Markdown."""
    lines = [
        f"- {role}: {escape(side.model_id)} ({escape(side.precision)}, {side.dimension:,} dimensions), digest"
        f" {side.digest[:12]}, {escape(side.folder)}"
        for role, side in (("Teacher", fidelity.teacher), ("Student", fidelity.student))
    ]
    return "\n".join([*lines, f"- Measured {fidelity.timestamp}"])
