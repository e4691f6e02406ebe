"""Which attention heads stay, by gradient times activation of their outputs."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import UserError
from core.model import SentenceEncoder
from core.schema.pruning import PrunedHeads
from prune import gates
from prune.importance import best, best_of_all, michel, per_layer, taylor
from prune.objective import Batch, Objective


def refuse_all(counts: Sequence[int], settings: PrunedHeads) -> None:
    """UserError where a layer would keep no head; counts: heads of each layer."""
    fewest = min(counts)
    if settings.spread == "equal" and settings.remove >= fewest:
        raise UserError(
            f"pruning.heads.remove is {settings.remove}, and layer {counts.index(fewest) + 1} has {fewest} heads: each"
            f" layer must keep at least one, so remove 0 to {fewest - 1}"
        )
    most = (sum(counts) - len(counts)) // len(counts)
    if settings.remove > most:
        raise UserError(
            f"pruning.heads.remove is {settings.remove} a layer on average, and {len(counts)} layers have"
            f" {sum(counts)} heads together: each must keep at least one, so remove 0 to {most}"
        )


def kept(
    encoder: SentenceEncoder, settings: PrunedHeads, batches: Sequence[Batch], objective: Objective
) -> list[list[int]]:
    """The heads of each layer that stay, by their place in the layer, from 0."""
    counts = [len(encoder.spec.heads_of(number)) for number in range(1, encoder.spec.layers + 1)]
    if not settings.remove:
        return [list(range(count)) for count in counts]
    refuse_all(counts, settings)
    found = gates.gradients(encoder, gates.outputs_of_heads(encoder), counts, batches, objective)
    scores = [per_layer(michel(part)) if settings.importance == "michel" else taylor(part) for part in found]
    if settings.spread == "equal":
        return [best(layer, len(layer) - settings.remove) for layer in scores]
    return best_of_all(scores, sum(counts) - settings.remove * len(counts))
