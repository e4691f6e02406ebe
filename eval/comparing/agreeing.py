"""What a student keeps of its teacher's decisions, probabilities and figures, with intervals over clusters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eval.comparing.paired import Decisions, Figures, Resampled, only_right
from eval.metrics import percentile_interval, wilson
from eval.metrics.bootstrap import Weights
from eval.metrics.likeness import divergence, grades, spearman
from eval.metrics.resamples import totals
from eval.schema.comparison import Those
from eval.schema.fidelity import Agreement, Estimate, Likeness

Labels = NDArray[np.int64]  # (n,)
Probability = NDArray[np.float64]  # (n,), of attack
KEPT = ("binary_f1", "binary_recall")


def estimate(value: float, resampled: NDArray[np.float64]) -> Estimate | None:
    """The figure with the percentiles of its resamples (repeats,); None where it or all of them are NaN."""
    if np.isnan(value) or np.isnan(resampled).all():
        return None
    return Estimate(value=value, interval=percentile_interval(resampled))


def mean(values: NDArray[np.float64], weights: Weights) -> Estimate:
    """Mean of a number of each row (n,); weights: (repeats, n), each resample with a row."""
    sums = totals(values[:, None], weights)[:, 0]
    return Estimate(value=float(values.mean()), interval=percentile_interval(sums / weights.sum(axis=1)))


def members(labels: Labels) -> dict[Those, Decisions]:
    """All rows, the attacks, the benign ones, as masks (n,); what is not there is left out."""
    found: dict[Those, Decisions] = {"all": labels >= 0, "attacks": labels == 1, "benign": labels == 0}
    return {name: here for name, here in found.items() if here.any()}


def agreements(labels: Labels, teacher: Decisions, student: Decisions, weights: Weights) -> dict[Those, Agreement]:
    """Where the two decide alike, and who is right where they do not; weights from `bootstrap.resample`."""
    return {
        name: _agreement(labels[here], teacher[here], student[here], weights[:, here])
        for name, here in members(labels).items()
    }


def _agreement(labels: Labels, teacher: Decisions, student: Decisions, weights: Weights) -> Agreement:
    alike = teacher == student
    both_right = int((alike & (teacher == (labels == 1))).sum())
    lost = int(only_right(labels, teacher, student).sum())
    gained = int(only_right(labels, student, teacher).sum())
    share = mean(alike.astype(np.float64), weights)
    # Where few decisions differ or none, resampling alone would prove anything.
    counted = wilson(int(alike.sum()), len(alike))
    bounds = min(share.interval[0], counted[0]), max(share.interval[1], counted[1])
    return Agreement(
        texts=len(labels),
        both_right=both_right,
        only_teacher_right=lost,
        only_student_right=gained,
        both_wrong=int(alike.sum()) - both_right,
        agreement=Estimate(value=share.value, interval=bounds),
        flips=lost + gained,
        teacher_right_in_flips=lost / (lost + gained) if lost + gained else None,
    )


def likenesses(labels: Labels, teacher: Probability, student: Probability, weights: Weights) -> dict[Those, Likeness]:
    """How near the attack probabilities are: by rank, by difference, by divergence (Stanton et al. 2021)."""
    return {name: _likeness(teacher[here], student[here], weights[:, here]) for name, here in members(labels).items()}


def _likeness(teacher: Probability, student: Probability, weights: Weights) -> Likeness:
    graded = grades(teacher), grades(student)
    ranked = np.array([spearman(*graded, often) for often in weights.astype(np.float64)])
    return Likeness(
        spearman=estimate(spearman(*graded, np.ones(len(teacher))), ranked),
        mean_absolute_difference=mean(np.abs(teacher - student), weights),
        divergence=mean(divergence(teacher, student), weights),
    )


def kept_shares(
    teacher: Figures, resampled_teacher: Resampled, student: Figures, resampled_student: Resampled
) -> dict[str, Estimate | None]:
    """The student's F1 and recall over the teacher's, with the ratio's interval from the same resamples of both."""
    found: dict[str, Estimate | None] = {}
    for name in KEPT:
        whole, part = teacher[name], student[name]
        if not whole or part is None:
            found[name] = None
            continue
        wholes = resampled_teacher[name]
        ratios = np.divide(resampled_student[name], wholes, out=np.full(wholes.shape, np.nan), where=wholes > 0)
        found[name] = estimate(part / whole, ratios)
    return found
