"""One-shot magnitude pruning: the smallest weights of the layers' matrices become zero."""

from __future__ import annotations

import copy

from core import sparsity
from core.model import SentenceEncoder
from core.schema.pruning import PrunedWeights


def zeroed(encoder: SentenceEncoder, settings: PrunedWeights) -> SentenceEncoder:
    """A copy of the encoder with the zeros that the settings ask for; those it has already count among them.

    Embeddings and projection stay whole, as in training (`student.sparsity`). UserError for groups that do not divide
    a matrix' inputs.
    """
    if not settings.ratio:
        return encoder
    masked = copy.deepcopy(encoder)
    layers, asked = masked.transformer.encoder, settings.sparsity()
    sparsity.apply(layers, asked)
    sparsity.update(layers, asked, settings.ratio)
    sparsity.remove(layers)
    return masked


def share_of_zeros(encoder: SentenceEncoder) -> float:
    """Of the layers' matrices; 0 where there are none."""
    from core import parametrised

    weights = [layer.weight for layer in parametrised.linears(encoder.transformer.encoder).values()]
    total = sum(weight.numel() for weight in weights)
    return sum(int((weight == 0).sum()) for weight in weights) / total if total else 0.0
