"""What validation loses without each single layer and each single head of an encoder that is still whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from core.encoder import PATIENCE
from core.layer_subsets import Batch, without_each
from core.model import SentenceEncoder
from prune import gates
from prune.cost_interval import Cost, Pairing
from prune.judge import Judge, Worth


@dataclass(frozen=True)
class Costs:
    """Of one encoder; layers from 0, heads by their column of the shared bias."""

    texts: int
    whole: Worth
    layers: Sequence[Cost]
    """Without each layer."""
    heads: Sequence[dict[int, Cost]]
    """By layer: without each of its heads."""


def lost(whole: Worth, worth: Worth) -> float:
    """F1 in points of 0.01."""
    return 100 * (whole.f1 - worth.f1)


def measure(encoder: SentenceEncoder, judge: Judge) -> Costs:
    """Every layer and every head left out alone, on the judge's texts; nothing is trained in between."""
    priced = Pairing(judge)
    layers = [priced(part) for part in without_each(encoder, range(encoder.spec.layers), judge.batches)]
    masked = without_each_head(encoder, judge.batches)
    heads = [
        {head: priced(embeddings) for head, embeddings in zip(encoder.spec.heads_of(number), parts, strict=True)}
        for number, parts in enumerate(masked, 1)
    ]
    return Costs(len(judge.labels), priced.whole, layers, heads)


@torch.inference_mode()
def without_each_head(encoder: SentenceEncoder, batches: Sequence[Batch]) -> list[np.ndarray]:
    """For each layer the texts' embeddings with one of its heads silenced: (heads, texts, dim).

    What lies below the layer is computed once.
    """
    stack, matrices = encoder.transformer.encoder.layer, gates.outputs_of_heads(encoder)
    counts = [len(encoder.spec.heads_of(number)) for number in range(1, len(stack) + 1)]
    parts: list[list[Tensor]] = [[] for _ in stack]
    for input_ids, mask in tqdm(batches, "heads, each left out", delay=PATIENCE, leave=False):
        bias, before = encoder.transformer.bias(mask), encoder.transformer.embeddings(input_ids)
        for place, layer in enumerate(stack):
            found = []
            for silent in 1 - torch.eye(counts[place]):
                with gates.factors([matrices[place]], [silent[None]]):
                    states = layer(before, bias)
                for later in stack[place + 1 :]:
                    states = later(states, bias)
                found.append(encoder.pool(states, mask))
            parts[place].append(torch.stack(found))
            before = layer(before, bias)
    return [torch.cat(part, dim=1).float().numpy() for part in parts]
