"""Losses on sentence embeddings: against the teacher's, text by text or pair by pair, and against the labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def embedding_cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine, mean over the batch; (batch, dim) each. As Reimers & Gurevych (arXiv 2004.09813), with MSE."""
    return (1.0 - functional.cosine_similarity(student, teacher, dim=-1)).mean()


def embedding_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance, mean over the batch; (batch, dim) each. Reimers & Gurevych 2020, arXiv 2004.09813."""
    return (student - teacher).square().sum(-1).mean()


def similarity(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared difference of the cosines of all pairs of texts, mean over pairs; (batch, any width) each.

    Similarity-preserving distillation (Tung & Mori 2019, arXiv 1907.09682), with cosines where the paper scales the
    rows of the similarity matrix, and without its diagonal, which is 1 in both. 0 for a single text.
    """
    count = len(student)
    if count < 2:
        return student.sum() * 0.0
    difference = _cosines(student) - _cosines(teacher)  # (batch, batch), its diagonal 0 up to rounding
    apart = ~torch.eye(count, dtype=torch.bool, device=student.device)
    return (difference.square() * apart).sum() / (count * (count - 1))


def supervised_contrastive(embedding: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Texts of one class together, all others apart: L_out of Khosla et al. 2020, arXiv 2004.11362.

    embedding: (batch, dim), of any length; labels: (batch,) int64. Mean over the texts that share their class with
    another one; 0 for a batch without such a pair.
    """
    others = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = (labels[:, None] == labels[None, :]) & others  # (batch, batch)
    count = positive.sum(1)
    if not positive.any():
        return embedding.sum() * 0.0  # zero that keeps the graph
    scores = _cosines(embedding) / temperature
    total = torch.logsumexp(scores.masked_fill(~others, float("-inf")), dim=1, keepdim=True)  # (batch, 1)
    per_text = ((total - scores) * positive).sum(1) / count.clamp(min=1)
    return per_text.sum() / (count > 0).sum()


def _cosines(vectors: Tensor) -> Tensor:
    """(batch, dim) -> (batch, batch)."""
    unit = functional.normalize(vectors, dim=-1)
    return unit @ unit.T
