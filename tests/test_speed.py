"""core.layers' attention in training: what was made faster computes the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from core.layers import EncoderSpec, SelfAttention
from core.model import SentenceEncoder

BATCH, TOKENS, HEADS = 2, 5, 4


@pytest.fixture
def attention() -> SelfAttention:
    torch.manual_seed(3)
    return SelfAttention(EncoderSpec(layers=1, hidden_size=16, attention_heads=HEADS, intermediate_size=8, dropout=0.0))


@pytest.fixture
def hidden() -> Tensor:
    return torch.randn(BATCH, TOKENS, 16, generator=torch.Generator().manual_seed(4))


@pytest.fixture
def bias() -> Tensor:
    """The second text has two tokens of padding."""
    value = torch.randn(BATCH, HEADS, TOKENS, TOKENS, generator=torch.Generator().manual_seed(5))
    value[1, :, :, 3:] = torch.finfo(torch.float32).min
    return value


@contextmanager
def saved_types(found: list[torch.dtype]) -> Iterator[None]:
    """Notes the type of everything as large as the scores that is kept for the backward pass."""

    def note(tensor: Tensor) -> Tensor:
        if tensor.numel() == BATCH * HEADS * TOKENS * TOKENS:
            found.append(tensor.dtype)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield


def test_a_trained_bias_changes_neither_output_nor_gradients(
    attention: SelfAttention, hidden: Tensor, bias: Tensor
) -> None:
    found = []
    for trained in (True, False):
        attention.zero_grad()
        output = attention(hidden, bias.clone().requires_grad_(trained))
        output.square().sum().backward()
        found.append(
            [output, *(parameter.grad.clone() for parameter in attention.parameters() if parameter.grad is not None)]
        )
    assert len(found[0]) == 1 + 8
    for plain, fused in zip(*found, strict=True):
        torch.testing.assert_close(plain, fused, atol=1e-6, rtol=1e-5)


def test_the_gradient_of_a_trained_bias_is_that_of_finite_differences(attention: SelfAttention, hidden: Tensor) -> None:
    bias = torch.randn(1, HEADS, TOKENS, TOKENS, dtype=torch.float64, requires_grad=True)
    double = attention.double()
    assert torch.autograd.gradcheck(lambda value: double(hidden.double(), value), (bias,))


def test_training_in_bf16_keeps_nothing_wider(attention: SelfAttention, hidden: Tensor, bias: Tensor) -> None:
    found: list[torch.dtype] = []
    with torch.autocast("cpu", torch.bfloat16), saved_types(found):
        attention(hidden, bias.requires_grad_())
    assert set(found) == {torch.bfloat16}


def test_padding_is_not_attended_to_and_leaves_gradients_finite(
    attention: SelfAttention, hidden: Tensor, bias: Tensor
) -> None:
    other = hidden.clone()
    other[1, 3:] = 7.0
    with torch.autocast("cpu", torch.bfloat16):
        first, second = (attention(states, bias.clone().requires_grad_()) for states in (hidden, other))
    torch.testing.assert_close(first[1, :3], second[1, :3], atol=0, rtol=0)
    assert not torch.equal(first[1, 3:], second[1, 3:])
    first.sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in attention.parameters())


def test_dropout_is_for_training_alone(attention: SelfAttention, hidden: Tensor, bias: Tensor) -> None:
    attention.dropout = 0.5
    whole = attention.eval()(hidden, bias.requires_grad_())
    assert torch.equal(whole, attention(hidden, bias))
    assert not torch.equal(attention.train()(hidden, bias), attention(hidden, bias))


def test_the_encoder_trains_its_relative_bias(tiny_encoder: SentenceEncoder) -> None:
    relative = tiny_encoder.transformer.encoder.relative_attention_bias
    assert relative is not None
    found: list[torch.dtype] = []
    ids = torch.randint(5, 1000, (BATCH, TOKENS), generator=torch.Generator().manual_seed(6))
    with torch.autocast("cpu", torch.bfloat16), saved_types(found):
        embedding = tiny_encoder(ids, torch.ones_like(ids)).sentence_embedding
    assert torch.bfloat16 in found
    (gradient,) = torch.autograd.grad(embedding[:, 0].sum(), [relative.weight])
    assert gradient.abs().max() > 0


class Conversions(TorchDispatchMode):
    """Notes the shape of everything that is turned into BF16."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, function, types, arguments=(), named=None):  # type: ignore[no-untyped-def]
        if function is torch.ops.aten._to_copy.default and (named or {}).get("dtype") == torch.bfloat16:
            self.shapes.append(tuple(arguments[0].shape))
        return function(*arguments, **(named or {}))


def test_what_several_products_take_is_narrowed_once(tiny_encoder: SentenceEncoder) -> None:
    layers = tiny_encoder.spec.layers
    assert layers > 1
    ids = torch.randint(5, 1000, (BATCH, TOKENS), generator=torch.Generator().manual_seed(6))
    with torch.autocast("cpu", torch.bfloat16), Conversions() as found:
        tiny_encoder(ids, torch.ones_like(ids))
    states, bias = (
        (BATCH, TOKENS, tiny_encoder.spec.hidden_size),
        (BATCH, tiny_encoder.spec.attention_heads, *[TOKENS] * 2),
    )
    assert found.shapes.count(bias) == 1  # shared by all layers
    assert found.shapes.count(states) == 2 * layers  # queries, keys and values take one, the feed-forward another
