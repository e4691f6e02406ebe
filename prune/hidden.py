"""Hidden width by torch-pruning: which dimensions of the hidden states go, and all that depends on them.

What its dependency graph (Fang et al. 2023, DepGraph, arXiv 2301.12900) finds by itself in our MPNet: LayerNorms, both
ends of every residual, the inputs of queries, keys, values and first feed-forward matrix, the outputs of the others.
What it has to be told, else the cut model fails in its first addition: the table of positions and the projection, whose
weights the encoder uses without calling their modules (`_traced` calls them); and that the heads keep their width,
which no longer follows from hidden_size / attention_heads (the spec's `head_size`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from core.layers import FIRST_POSITION
from core.model import SentenceEncoder, unfilled
from prune.importance import best, rounded
from prune.objective import Batch, Objective


def count(hidden_size: int, attention_heads: int, ratio: float) -> int:
    """Dimensions that stay: a multiple of the heads, so that a configuration can name the shape, and of 8."""
    return rounded((1 - ratio) * hidden_size, hidden_size, math.lcm(attention_heads, 8)) if ratio else hidden_size


def kept(encoder: SentenceEncoder, ratio: float, batches: Sequence[Batch], objective: Objective) -> list[int]:
    """The dimensions that stay, rising, by torch-pruning's grouped Taylor importance of the summed loss."""
    hidden = encoder.spec.hidden_size
    number = count(hidden, encoder.spec.attention_heads, ratio)
    if number == hidden:
        return list(range(hidden))
    import torch_pruning

    model = copy.deepcopy(encoder).eval().requires_grad_(True)
    for batch in batches:
        objective(model(batch.input_ids, batch.mask).sentence_embedding, batch.labels).sum().backward()
    scores = torch_pruning.importance.GroupTaylorImportance(normalizer=None)(_group(model, list(range(hidden))))
    return best(scores, number)


def keep(encoder: SentenceEncoder, dimensions: Sequence[int]) -> SentenceEncoder:
    """The encoder with these dimensions of the hidden states alone, rising."""
    old = encoder.spec
    if len(dimensions) == old.hidden_size:
        return encoder
    model = copy.deepcopy(encoder).eval().requires_grad_(True)
    _group(model, [place for place in range(old.hidden_size) if place not in set(dimensions)]).prune()  # type: ignore[attr-defined]
    even = len(dimensions) // old.attention_heads == old.size_of_head
    spec = replace(old, hidden_size=len(dimensions), head_size=None if even else old.size_of_head)
    cut = unfilled(spec)
    cut.load_state_dict(model.state_dict(), assign=True)
    return cut.eval()


def _group(model: SentenceEncoder, dimensions: list[int]) -> Sequence[object]:
    """Everything that must lose these dimensions of the hidden states together, as torch-pruning's Group."""
    import torch_pruning

    graph = torch_pruning.DependencyGraph().build_dependency(model, _example(model), forward_fn=_traced, verbose=False)
    group: Sequence[object] = graph.get_pruning_group(
        model.transformer.embeddings.word_embeddings, torch_pruning.prune_embedding_out_channels, dimensions
    )
    return group


def _example(model: SentenceEncoder) -> tuple[Tensor, Tensor]:
    """Two texts of four tokens; any do, since only shapes and operators are followed."""
    ids = torch.arange(8).view(2, 4) % model.spec.vocabulary_size
    return ids, torch.ones_like(ids)


def _traced(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """The encoder's forward pass, every weight used by a call of its module."""
    assert isinstance(model, SentenceEncoder)
    ids, mask = batch
    body, embeddings = model.transformer, model.transformer.embeddings
    places = torch.arange(FIRST_POSITION, FIRST_POSITION + ids.shape[1])
    positions = embeddings.position_embeddings(places)  # type: ignore[operator]
    states = embeddings.LayerNorm(embeddings.word_embeddings(ids) + positions)  # (texts, tokens, hidden)
    bias = body.bias(mask).detach()  # it has no hidden dimension to lose
    for layer in body.encoder.layer:
        states = layer(states, bias)
    pooled = states.mean(1)  # (texts, hidden)
    return model.projection(pooled) if model.projection is not None else pooled
