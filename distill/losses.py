"""The losses: tensors in, a scalar out; none holds a model."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from core.rows import IGNORED


def embedding_cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine, mean over the batch; (batch, dim) each. As Reimers & Gurevych (arXiv 2004.09813), with MSE."""
    return (1.0 - functional.cosine_similarity(student, teacher, dim=-1)).mean()


def embedding_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance, mean over the batch; (batch, dim) each. Reimers & Gurevych 2020, arXiv 2004.09813."""
    return (student - teacher).square().sum(-1).mean()


def hidden_mse(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """MSE of hidden states over real tokens, as in TinyBERT (Jiao et al. 2020, arXiv 1909.10351).

    student, teacher: (layers, batch, tokens, dim), the student's already mapped to the teacher's width;
    mask: (batch, tokens), 1 for real tokens.
    """
    weights = mask[None, :, :, None].to(student.dtype)
    per_value = (student - teacher).square() * weights
    return per_value.sum() / (weights.sum() * student.shape[0] * student.shape[-1])


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


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy over the rows whose target is not `IGNORED`; (batch, classes) and (batch,). 0 if there are none."""
    if not (target != IGNORED).any():
        return logits.sum() * 0.0
    return functional.cross_entropy(logits, target, ignore_index=IGNORED)
