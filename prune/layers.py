"""Which layers go: by rule, by what the embedding loses without one, or one by one by what validation loses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import UserError
from core.layer_subsets import Batch, without_each
from core.model import SentenceEncoder
from core.schema.pruning import PrunedLayers
from prune.importance import alternate, weakest
from prune.judge import Judge, Worth


@dataclass(frozen=True)
class Step:
    """One layer less in a greedy search."""

    dropped: int
    kept: tuple[int, ...]
    worth: Worth


def refuse_too_many(layers: int, remove: int) -> None:
    """UserError where no layer would stay."""
    if remove >= layers:
        raise UserError(
            f"pruning.layers.remove is {remove}, and the checkpoint has {layers} layers: at least one must stay,"
            f" so remove 0 to {layers - 1}"
        )


def removed(encoder: SentenceEncoder, settings: PrunedLayers, calibration: Sequence[Batch], judge: Judge) -> list[int]:
    """The layers, from 0, rising, that the settings take out; prints the steps of a search."""
    layers, number = encoder.spec.layers, settings.remove
    refuse_too_many(layers, number)
    if not number:
        return []
    match settings.rule:
        case "first":
            return list(range(number))
        case "last":
            return list(range(layers - number, layers))
        case "alternate":
            return alternate(layers, number)
        case "importance":
            return weakest(changes(encoder, calibration), number)
        case "search":
            kept = tuple(range(layers))
            for step in eliminate(encoder, judge, layers - number):
                kept = step.kept
                print(describe(step), flush=True)
            return [layer for layer in range(layers) if layer not in kept]


def changes(encoder: SentenceEncoder, batches: Sequence[Batch]) -> list[float]:
    """How far texts' embeddings move without each layer alone: 1 - cosine, the mean over texts."""
    everything = range(encoder.spec.layers)
    import torch

    with torch.inference_mode():
        whole = torch.cat([encoder(*batch).sentence_embedding.float() for batch in batches]).numpy()
    return [1.0 - float((part * whole).sum(1).mean()) for part in without_each(encoder, everything, batches)]


def eliminate(encoder: SentenceEncoder, judge: Judge, layers: int) -> Iterator[Step]:
    """Leaves out one layer after the other, each time that without which validation is best, until `layers` stay.

    Peer et al. 2022, "Greedy-layer pruning" (Pattern Recognition Letters 157, arXiv 2105.14839), without training in
    between: best is the highest F1 at the threshold; of equal ones the highest cosine to the whole encoder, then the
    lowest layer.
    """
    kept = tuple(range(encoder.spec.layers))
    while len(kept) > layers:
        worths = [judge(np.nan_to_num(embeddings)) for embeddings in without_each(encoder, kept, judge.batches)]
        place = max(range(len(kept)), key=lambda one: (worths[one].f1, worths[one].cosine, -one))
        dropped, kept = kept[place], (*kept[:place], *kept[place + 1 :])
        yield Step(dropped, kept, worths[place])


def describe(step: Step) -> str:
    worth, kept = step.worth, " ".join(map(str, step.kept))
    return (
        f"without layer {step.dropped}: validation F1 {worth.f1:.4f}, cosine to the whole {worth.cosine:.4f}; left:"
        f" {kept}"
    )
