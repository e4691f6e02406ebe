"""Token vectors without context: the whole of a static model, since pooling and projection follow outside."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.layers import EncoderSpec


class StaticEmbeddings(nn.Module):
    """A vector and a weight for each token; a text is their weighted mean, whatever the order of its tokens.

    Model2Vec (Tulkens & van Dongen 2024) and sentence-transformers' StaticEmbedding; weights as in SIF (Arora et al.
    2017), learned. Their sum is not divided by: the embedding is normalised after a projection without bias.
    """

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(spec.vocabulary_size, spec.hidden_size, padding_idx=1)
        self.token_weights = nn.Parameter(torch.zeros(spec.vocabulary_size, 1))  # logarithms: a plain mean at first
        self.LayerNorm = nn.LayerNorm(spec.hidden_size, eps=spec.layer_norm_eps)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, input_ids: Tensor) -> Tensor:
        """(batch, tokens) -> (batch, tokens, hidden)."""
        weights = functional.embedding(input_ids, self.token_weights).exp()  # (batch, tokens, 1)
        return self.dropout(self.LayerNorm(self.word_embeddings(input_ids))) * weights
