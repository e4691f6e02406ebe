"""The whole pruning of one encoder: layers, heads, neurons, hidden width, weights, and a record of what went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from core.heads import LinearHead
from core.model import SentenceEncoder
from core.schema.pruning import Pruning
from prune import heads, hidden, layers, magnitude, neurons, sparsegpt, surgery
from prune.judge import Judge
from prune.objective import Batch, Objective


@dataclass(frozen=True)
class Pruned:
    """The smaller encoder and the linear heads that read its embedding."""

    encoder: SentenceEncoder
    heads: Mapping[str, LinearHead]
    record: dict[str, Any] = field(default_factory=dict)
    """What was removed, for the manifest: counts and places, from 0, in the parent's numbering."""


def prune(
    encoder: SentenceEncoder,
    classifier: Mapping[str, LinearHead],
    settings: Pruning,
    batches: Sequence[Batch],
    judge: Judge,
    weights: tuple[float, float],
) -> Pruned:
    """Every step measures importance on what the steps before left.

    encoder: FP32, it stays as it is; weights: of family and sub-family in the loss. UserError where the settings ask
    for more than there is.
    """
    if settings.layers.remove or settings.heads.remove or settings.neurons.ratio or settings.hidden.ratio:
        surgery.refuse_other_architectures(encoder.spec)
    before, record = _parameters(encoder), dict[str, Any]()
    plain = [(batch.input_ids, batch.mask) for batch in batches]
    objective = Objective(classifier, *weights)
    if gone := layers.removed(encoder, settings.layers, plain, judge):
        encoder = surgery.keep_layers(encoder, [layer for layer in range(encoder.spec.layers) if layer not in gone])
        record["layers"] = {"removed": gone, "left": encoder.spec.layers}
    if settings.heads.remove:
        places = heads.kept(encoder, settings.heads, batches, objective)
        encoder = surgery.keep_heads(encoder, places)
        record["heads"] = {"left": [list(encoder.spec.heads_of(number)) for number in _numbers(encoder)]}
    if settings.neurons.ratio:
        encoder = surgery.keep_neurons(encoder, neurons.kept(encoder, settings.neurons, batches, objective))
        record["neurons"] = {"left": [encoder.spec.intermediate_of(number) for number in _numbers(encoder)]}
    if settings.hidden.ratio:
        dimensions = hidden.kept(encoder, settings.hidden.ratio, batches, objective)
        record["hidden"] = {"left": len(dimensions), "of": encoder.spec.hidden_size}
        encoder = hidden.keep(encoder, dimensions)
        classifier = fitting(classifier, dimensions) if encoder.projection is None else classifier
    if settings.weights.method == "sparsegpt" and settings.weights.ratio:
        surgery.refuse_other_architectures(encoder.spec)
        encoder = sparsegpt.zeroed(encoder, classifier, settings.weights, batches)
    elif settings.weights.ratio:
        encoder = magnitude.zeroed(encoder, settings.weights)
    record["zeros"] = round(magnitude.share_of_zeros(encoder), 6)
    record["parameters"] = {"before": before, "after": _parameters(encoder)}
    return Pruned(encoder, classifier, record)


def fitting(classifier: Mapping[str, LinearHead], dimensions: Sequence[int]) -> dict[str, LinearHead]:
    """The heads on an embedding that has kept these dimensions alone."""
    return {name: replace(head, weight=head.weight[:, list(dimensions)].copy()) for name, head in classifier.items()}


def _numbers(encoder: SentenceEncoder) -> range:
    """Of its layers, from 1."""
    return range(1, encoder.spec.layers + 1)


def _parameters(encoder: SentenceEncoder) -> int:
    return sum(parameter.numel() for parameter in encoder.parameters())
