"""Losses on the heads' logits: against the teacher's and against the labels, rare classes and hard texts raised."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from core.rows import IGNORED


def two_class(logit: Tensor) -> Tensor:
    """The binary head's single attack logit as logits of (benign, attack): (batch,) -> (batch, 2)."""
    return torch.stack([torch.zeros_like(logit), logit], dim=-1)


def logits_kd(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Temperature-softened KL divergence times temperature squared (Hinton et al. 2015, arXiv 1503.02531).

    (batch, classes) each, mean over the batch; 0 for an empty batch.
    """
    if not len(student):
        return student.sum()  # zero that keeps the graph
    wanted = functional.log_softmax(teacher / temperature, dim=-1)
    given = functional.log_softmax(student / temperature, dim=-1)
    return functional.kl_div(given, wanted, reduction="batchmean", log_target=True) * temperature**2


def cross_entropy(logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy over the rows whose target is not `IGNORED`; (batch, classes) and (batch,). 0 if there are none.

    weights: (classes,). The mean is over rows, not over weights, so that a batch of rare classes alone pulls harder.
    """
    known = target != IGNORED
    if not known.any():
        return logits.sum() * 0.0
    per_row = functional.cross_entropy(logits, target, weight=weights, ignore_index=IGNORED, reduction="none")
    return per_row.sum() / known.sum()


def focal(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """Cross-entropy times (1 - probability of the right class) ** gamma: Lin et al. 2017, arXiv 1708.02002.

    (batch, classes) and (batch,); mean over the rows whose target is not `IGNORED`, 0 if there are none.
    """
    known = target != IGNORED
    if not known.any():
        return logits.sum() * 0.0
    entropy = functional.cross_entropy(logits[known], target[known], reduction="none")
    missing = -torch.expm1(-entropy)  # 1 - probability of the right class
    return (missing.clamp(min=1e-12).pow(gamma) * entropy).mean()  # 0 ** a small gamma has no finite gradient


def balanced_weights(counts: Tensor, beta: float) -> Tensor:
    """A weight for each class, as the inverse of its effective number of rows: Cui et al. 2019, arXiv 1901.05555.

    counts: (classes,) training rows; a class of n has (1 - beta^n) / (1 - beta) effective ones: 1 for beta 0 (equal
    weights), n for beta 1 (inverse frequency). Scaled so that the mean over the training rows is 1: the sum of the
    losses of a term stays what it is, whatever the imbalance (with beta 1 scikit-learn's `class_weight="balanced"`).
    """
    rows = counts.double()
    there = rows.clamp(min=1.0)  # a class without rows is never weighed, but must not divide by zero
    effective = there if beta == 1.0 else (1.0 - beta**there) / (1.0 - beta)
    return (rows.sum() / (effective * (rows / effective).sum())).float()
