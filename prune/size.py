"""How many parameters an MPNet of a spec has: arithmetic, without building it."""

from __future__ import annotations

from core.model import EncoderSpec


def parameters(spec: EncoderSpec) -> int:
    """All weights of the encoder, projection included, heads of the classifier not."""
    hidden = spec.hidden_size
    embeddings = (spec.vocabulary_size + spec.max_positions + 2) * hidden  # 2: LayerNorm
    relative = spec.relative_attention_buckets * spec.attention_heads
    return embeddings + relative + sum(in_matrices(spec)) + _vectors(spec) + (spec.projection or 0) * hidden


def in_matrices(spec: EncoderSpec) -> list[int]:
    """Weights of each layer's six matrices."""
    found = []
    for number in range(1, spec.layers + 1):
        width = len(spec.heads_of(number)) * spec.size_of_head
        found.append((4 * width + 2 * spec.intermediate_of(number)) * spec.hidden_size)
    return found


def _vectors(spec: EncoderSpec) -> int:
    """Biases and LayerNorms of the layers."""
    total = 0
    for number in range(1, spec.layers + 1):
        width = len(spec.heads_of(number)) * spec.size_of_head
        total += 3 * width + spec.intermediate_of(number) + 6 * spec.hidden_size  # biases of o, output; two LayerNorms
    return total
