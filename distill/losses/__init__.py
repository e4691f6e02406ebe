"""The losses: tensors in, a scalar out; none holds a model. A batch may also be one gathered from several processes."""

from __future__ import annotations

from distill.losses.embeddings import embedding_cosine, embedding_mse, similarity, supervised_contrastive
from distill.losses.logits import balanced_weights, cross_entropy, focal, logits_kd, two_class
from distill.losses.self_relations import relations
from distill.losses.tokens import attention_kl, attention_mse, hidden_mse

__all__ = [
    "attention_kl",
    "attention_mse",
    "balanced_weights",
    "cross_entropy",
    "embedding_cosine",
    "embedding_mse",
    "focal",
    "hidden_mse",
    "logits_kd",
    "relations",
    "similarity",
    "supervised_contrastive",
    "two_class",
]
