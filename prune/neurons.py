"""Which feed-forward neurons stay, by gradient times activation or by the size of what they send on."""

from __future__ import annotations

from collections.abc import Sequence

from core.model import SentenceEncoder
from core.schema.pruning import PrunedNeurons
from prune import gates
from prune.importance import best, best_of_all, per_layer, rounded, taylor
from prune.objective import Batch, Objective


def kept(
    encoder: SentenceEncoder, settings: PrunedNeurons, batches: Sequence[Batch], objective: Objective
) -> list[list[int]]:
    """The neurons of each layer that stay, from 0, rising.

    `activation` is the norm of what a neuron sends to the hidden states, as Wanda weighs single weights (Sun et al.
    2023, arXiv 2306.11695); between layers it is compared after division by the layer's norm.
    """
    matrices = gates.outputs_of_neurons(encoder)
    widths = [matrix.in_features for matrix in matrices]
    if not settings.ratio:
        return [list(range(width)) for width in widths]
    if settings.importance == "taylor":
        scores = [taylor(part) for part in gates.gradients(encoder, matrices, widths, batches, objective)]
    else:
        active = gates.sizes(encoder, matrices, batches)
        norms = [matrix.weight.detach().norm(dim=0) for matrix in matrices]  # (neurons,)
        scores = [per_layer(size * norm) for size, norm in zip(active, norms, strict=True)]
    counts = [(1 - settings.ratio) * width for width in widths]
    if settings.spread == "global":
        counts = [float(len(layer)) for layer in best_of_all(scores, max(len(widths), round(sum(counts))))]
    return [
        best(layer, rounded(count, width, settings.multiple_of))
        for layer, count, width in zip(scores, counts, widths, strict=True)
    ]
