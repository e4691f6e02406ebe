"""core.model against transformers' MPNet, and the properties that training, export and serving rely on."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from transformers import MPNetConfig, MPNetModel

from core.model import (
    EncoderSpec,
    SentenceEncoder,
    build,
    relative_position_buckets,
    unfilled,
)


def padded_batch(lengths: tuple[int, ...], vocabulary: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random ids with padding on the right: (input_ids, attention_mask), (len(lengths), longest) each."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, vocabulary - 1, (len(lengths), max(lengths)), generator=generator)
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    return ids.where(mask, torch.tensor(1)), mask.long()


def reference(encoder: SentenceEncoder) -> MPNetModel:
    """transformers' model with the weights of `encoder`."""
    spec = encoder.spec
    config = MPNetConfig(
        vocab_size=spec.vocabulary_size,
        hidden_size=spec.hidden_size,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.attention_heads,
        intermediate_size=spec.intermediate_size,
        max_position_embeddings=spec.max_positions,
        relative_attention_num_buckets=spec.relative_attention_buckets,
        layer_norm_eps=spec.layer_norm_eps,
    )
    model = MPNetModel(config, add_pooling_layer=False).eval()
    missing, unexpected = model.load_state_dict(encoder.transformer.state_dict(), strict=False)
    assert (set(missing), set(unexpected)) <= ({"embeddings.position_ids"}, set())
    return model


@torch.no_grad()
def test_hidden_states_are_those_of_transformers(tiny_encoder: SentenceEncoder) -> None:
    ids, mask = padded_batch((400, 150, 3), tiny_encoder.spec.vocabulary_size)
    assert tiny_encoder.transformer.encoder.relative_attention_bias.weight.std() > 0.1
    expected = reference(tiny_encoder)(ids, mask, output_hidden_states=True).hidden_states
    states = tiny_encoder(ids, mask, hidden_states=True).hidden_states
    assert len(states) == len(expected) == tiny_encoder.spec.layers + 1
    real = mask.bool()
    for ours, theirs in zip(states, expected, strict=True):
        torch.testing.assert_close(ours[real], theirs[real], atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_relative_bias_counts_near_and_far(tiny_encoder: SentenceEncoder) -> None:
    # Otherwise the comparison above would not notice a wrong bucket.
    ids, mask = padded_batch((200,), tiny_encoder.spec.vocabulary_size)
    before = tiny_encoder(ids, mask).sentence_embedding
    for bucket in (0, 3, 15, 17, 31):
        changed = copy.deepcopy(tiny_encoder)
        changed.transformer.encoder.relative_attention_bias.weight[bucket] += 1.0
        assert (changed(ids, mask).sentence_embedding - before).abs().max() > 1e-4, bucket


def test_buckets_by_hand() -> None:
    # 8 buckets: 4 each way, the first 2 exact, the others logarithmic from 2 to 16.
    expected = {-20: 3, -6: 3, -5: 2, -2: 2, -1: 1, 0: 0, 1: 5, 2: 6, 5: 6, 6: 7, 20: 7}
    buckets = relative_position_buckets(20, 8, max_distance=16)
    assert {distance: int(buckets[20 + distance]) for distance in expected} == expected


@torch.no_grad()
def test_embedding_does_not_depend_on_padding_or_company(tiny_encoder: SentenceEncoder) -> None:
    ids, mask = padded_batch((9, 40), tiny_encoder.spec.vocabulary_size)
    together = tiny_encoder(ids, mask).sentence_embedding
    alone = tiny_encoder(ids[:1, :9], mask[:1, :9]).sentence_embedding
    torch.testing.assert_close(together[:1], alone, atol=1e-6, rtol=0)
    ids[0, 9:] = 77  # whatever stands under the mask
    torch.testing.assert_close(tiny_encoder(ids, mask).sentence_embedding, together, atol=1e-6, rtol=0)


@torch.no_grad()
def test_embedding_is_the_normalised_masked_mean(tiny_encoder: SentenceEncoder) -> None:
    ids, mask = padded_batch((12, 5), tiny_encoder.spec.vocabulary_size)
    output = tiny_encoder(ids, mask)
    assert output.hidden_states == ()
    mean = output.last_hidden_state[1, :5].mean(0)
    torch.testing.assert_close(output.sentence_embedding[1], mean / mean.norm(), atol=1e-6, rtol=0)
    torch.testing.assert_close(output.sentence_embedding.norm(dim=1), torch.ones(2), atol=1e-6, rtol=0)


@torch.no_grad()
def test_projection_follows_the_pooling(tiny_encoder: SentenceEncoder) -> None:
    spec = replace(tiny_encoder.spec, projection=48)
    assert (spec.embedding_size, tiny_encoder.spec.embedding_size) == (48, 32)
    projected = build(spec).eval()
    projected.transformer.load_state_dict(tiny_encoder.transformer.state_dict())
    ids, mask = padded_batch((12, 5), spec.vocabulary_size)
    output = projected(ids, mask)
    assert projected.projection is not None
    mean = output.last_hidden_state[1, :5].mean(0)
    expected = projected.projection.weight @ mean
    assert output.sentence_embedding.shape == (2, 48)
    torch.testing.assert_close(output.sentence_embedding[1], expected / expected.norm(), atol=1e-6, rtol=0)


@torch.no_grad()
def test_half_precision_pools_in_single(tiny_encoder: SentenceEncoder) -> None:
    half = copy.deepcopy(tiny_encoder).bfloat16()
    ids, mask = padded_batch((300, 5), tiny_encoder.spec.vocabulary_size)
    embedding = half(ids, mask).sentence_embedding
    assert embedding.dtype == torch.float32
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2), atol=1e-6, rtol=0)
    cosine = (embedding * tiny_encoder(ids, mask).sentence_embedding).sum(1)
    assert cosine.min() > 0.995


def test_a_built_encoder_starts_as_said(tiny_spec: EncoderSpec) -> None:
    torch.manual_seed(0)
    encoder = build(tiny_spec)
    for name, parameter in encoder.named_parameters():
        if name.endswith("LayerNorm.weight"):
            assert (parameter == 1).all(), name
        elif name.endswith("bias") or "relative_attention_bias" in name:
            assert (parameter == 0).all(), name
        else:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.1), name


def test_dropout_acts_in_training_only(tiny_encoder: SentenceEncoder) -> None:
    encoder = copy.deepcopy(tiny_encoder)
    ids, mask = padded_batch((12,), encoder.spec.vocabulary_size)
    first = encoder(ids, mask).sentence_embedding
    assert torch.equal(first, encoder(ids, mask).sentence_embedding)
    encoder.train()
    assert not torch.equal(encoder(ids, mask).sentence_embedding, encoder(ids, mask).sentence_embedding)


@torch.no_grad()
def test_an_unfilled_encoder_is_whole_once_assigned(tiny_encoder: SentenceEncoder) -> None:
    empty = unfilled(tiny_encoder.spec)
    assert {parameter.device.type for parameter in empty.parameters()} == {"meta"}
    assert torch.equal(empty.transformer.buckets, tiny_encoder.transformer.buckets)  # no state holds them
    empty.load_state_dict(tiny_encoder.state_dict(), assign=True)
    ids, mask = padded_batch((150, 3), tiny_encoder.spec.vocabulary_size)
    assert torch.equal(empty.eval()(ids, mask).sentence_embedding, tiny_encoder(ids, mask).sentence_embedding)


class Tuple(nn.Module):
    """Tracing wants tensors."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        output = self.encoder(ids, mask)
        return output.sentence_embedding, output.last_hidden_state


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@torch.no_grad()
def test_the_traced_path_equals_the_eager_one(tiny_encoder: SentenceEncoder) -> None:
    module = Tuple(tiny_encoder)
    traced = torch.jit.trace(module, padded_batch((7, 4), tiny_encoder.spec.vocabulary_size))
    assert "scaled_dot_product_attention" not in str(traced.inlined_graph)
    for lengths in ((7, 4), (200,), (1, 300, 40)):  # other shapes than the traced one
        batch = padded_batch(lengths, tiny_encoder.spec.vocabulary_size, seed=1)
        embedding, last = traced(*batch)
        expected_embedding, expected_last = module(*batch)
        real = batch[1].bool()
        torch.testing.assert_close(embedding, expected_embedding, atol=1e-5, rtol=0)
        torch.testing.assert_close(last[real], expected_last[real], atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_longest_text_fits(tiny_encoder: SentenceEncoder) -> None:
    ids, mask = padded_batch((512,), tiny_encoder.spec.vocabulary_size)
    norm = float(tiny_encoder(ids, mask).sentence_embedding.norm())
    assert math.isclose(norm, 1.0, abs_tol=1e-5)
