"""Attention without a softmax: keys and values are summed once, so that the cost is linear in the length."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from core.layers import MultiHead, Projections

LEAST = 1e-6  # of a sum of positive weights: what keeps a text without tokens finite


def positive(projected: Tensor) -> Tensor:
    """The feature map elu(x) + 1 in at least FP32, written without a difference that would round e^x away.

    It is also faster in onnxruntime than `Elu`.
    """
    wide = projected if projected.dtype == torch.float64 else projected.float()
    return functional.relu(wide) + wide.clamp(max=0).exp()


class LinearAttention(MultiHead):
    """Katharopoulos et al. 2020 (arXiv 2006.16236), in both directions; it knows places from the embeddings alone.

    Query i weighs key j by f(q_i) · f(k_j), divided by the sum over the real keys, with f(x) = elu(x) + 1.
    """

    def scores(self, projections: Projections, bias: Tensor) -> Tensor:
        """Logarithms of the weights, (batch, heads, tokens, tokens): their softmax over keys is the attention map.

        Never formed where the layer runs; the maps of softmax attention teach it (Zhang et al. 2024, Hedgehog,
        arXiv 2402.04347). bias: very negative where a key is padding; (batch, 1, 1, tokens).
        """
        batch, tokens, _ = projections.query.shape
        query, key = (positive(self._split(part, batch, tokens)) for part in (projections.query, projections.key))
        return torch.log((query @ key.transpose(-1, -2)).clamp(min=LEAST)) + bias

    def forward(self, hidden: Tensor, attention_mask: Tensor, projections: Projections | None = None) -> Tensor:
        """hidden: (batch, tokens, hidden); attention_mask: (batch, tokens)."""
        batch, tokens, _ = hidden.shape
        given = projections or self.project(hidden)
        query, key, value = (self._split(part, batch, tokens) for part in (given.query, given.key, given.value))
        with torch.autocast(hidden.device.type, enabled=False):  # half precision loses sums over the tokens
            query, key = positive(query), positive(key)
            key = key * attention_mask[:, None, :, None].to(key.dtype)
            summed = key.transpose(-1, -2) @ value.to(key.dtype)  # (batch, heads, size, size)
            total = query @ key.sum(2)[:, :, :, None]  # (batch, heads, tokens, 1)
            mixed = (query @ summed) / total.clamp(min=LEAST)  # (batch, heads, tokens, size)
        return self._joined(mixed.to(hidden.dtype), batch, tokens)
