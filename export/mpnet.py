"""An MPNet as an ONNX graph, written by hand in the form that onnxruntime runs fastest under its default options."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import Tensor, nn

from core.layers import FIRST_POSITION, Layer, SelfAttention
from core.model import EncoderSpec, SentenceEncoder
from export import ends
from export.reading import shorten
from export.relative_bias import add_bias, take_heads
from export.writer import Writer


def write(encoder: SentenceEncoder) -> onnx.ModelProto:
    """Inputs `input_ids`, `attention_mask` (batch, tokens); outputs `sentence_embedding`, `last_hidden_state`.

    Beside torch's export it has no arithmetic of shapes, one `Attention` that takes the relative bias (MPNet's is not
    recognised by onnxruntime's fusions), and residual sums as `Sum`: wherever onnxruntime can follow the shapes, it
    fuses an `Add` with its LayerNormalization to a SkipLayerNormalization, which is several times slower.
    """
    writer, body = Writer(), encoder.transformer
    real = ends.cut(writer)
    if encoder.reading is not None:
        real = shorten(writer, real, encoder.reading)
    states = _embed(writer, encoder, real)
    used = _used(encoder.spec)
    bias = add_bias(writer, real, _by_distance(encoder)[used])
    for number, layer in enumerate(body.encoder.layer):
        assert isinstance(layer, Layer)
        heads = [used.index(head) for head in encoder.spec.heads_of(number + 1)]
        own = take_heads(writer, bias, heads, len(used), f"layer {number} bias")
        states = _layer(writer, layer, states, own, f"layer {number}")
    pooled = ends.pool(writer, states, real)
    if encoder.projection is not None:
        pooled = _linear(writer, pooled, encoder.projection, "projection")
    ends.normalise(writer, pooled)
    ends.fill(writer, states, real)
    return writer.model(ends.inputs(), ends.outputs(encoder.spec.embedding_size, encoder.spec.hidden_size))


def _embed(writer: Writer, encoder: SentenceEncoder, real: ends.Cut) -> str:
    """(batch, longest, hidden)"""
    embeddings = encoder.transformer.embeddings
    assert isinstance(embeddings.LayerNorm, nn.LayerNorm)
    table = writer.constant("word embeddings", _array(embeddings.word_embeddings.weight))
    words = writer.add("Gather", [table, real.ids], "words")
    places = _array(embeddings.position_embeddings.weight)[FIRST_POSITION:]  # type: ignore[union-attr, arg-type]
    zero = writer.integers(0)
    positions = writer.add("Slice", [writer.constant("places", places), zero, real.longest, zero], "positions")
    return _normed(writer, words, positions, embeddings.LayerNorm, "embeddings")


def _used(spec: EncoderSpec) -> list[int]:
    """The heads, rising, that at least one layer has left, by their column of the shared bias."""
    return sorted({head for number in range(1, spec.layers + 1) for head in spec.heads_of(number)})


def _by_distance(encoder: SentenceEncoder) -> NDArray[np.float32]:
    """(heads, 2 * reach + 1)"""
    relative = encoder.transformer.encoder.relative_attention_bias
    assert relative is not None
    return _array(relative.weight[encoder.transformer.buckets]).T


def _layer(writer: Writer, layer: Layer, states: str, bias: str, name: str) -> str:
    attended = _attend(writer, layer.attention.attn, states, bias, f"{name} attention")
    states = _normed(writer, attended, states, layer.attention.LayerNorm, f"{name} attention")
    inner = _linear(writer, states, layer.intermediate.dense, f"{name} inner")
    active = writer.add("Gelu", [inner], f"{name} active")
    outer = _linear(writer, active, layer.output.dense, f"{name} outer")
    return _normed(writer, outer, states, layer.output.LayerNorm, f"{name} output")


def _attend(writer: Writer, attention: SelfAttention, states: str, bias: str, name: str) -> str:
    """Multi-head attention with its output projection: (batch, longest, hidden) -> the same.

    Queries, keys and values are three products of states that INT8 rounds once. As one product they would take as long,
    and to split it copies them: about 1 % of the whole graph at one thread.
    """
    parts = {"queries": attention.q, "keys": attention.k, "values": attention.v}
    projected = [_linear(writer, states, layer, f"{name} {part}") for part, layer in parts.items()]
    sizes = {"q_num_heads": attention.heads, "kv_num_heads": attention.heads, "scale": attention.head_size**-0.5}
    mixed = writer.add("Attention", [*projected, bias], f"{name} mixed", sizes)
    return _linear(writer, mixed, attention.o, f"{name} out")


def _linear(writer: Writer, states: str, layer: nn.Linear, name: str) -> str:
    weight = writer.constant(f"{name} weight", _array(layer.weight).T)  # (inputs, outputs)
    product = writer.add("MatMul", [states, weight], f"{name} product")
    if layer.bias is None:
        return product
    return writer.add("Add", [product, writer.constant(f"{name} bias", _array(layer.bias))], name)


def _normed(writer: Writer, states: str, residual: str, norm: nn.LayerNorm, name: str) -> str:
    """Layer normalisation of the sum."""
    summed = writer.add("Sum", [states, residual], f"{name} sum")
    parameters = [writer.constant(f"{name} {part}", _array(getattr(norm, part))) for part in ("weight", "bias")]
    return writer.add("LayerNormalization", [summed, *parameters], f"{name} states", {"epsilon": norm.eps})


def _array(weight: Tensor) -> NDArray[np.float32]:
    return weight.detach().float().cpu().numpy()
