"""Losses inside the models: by hand, against a loop, blind to padding, and between models of unlike width and heads."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.model import EncoderSpec, SentenceEncoder, build
from distill import losses
from distill.token_states import Layers, TokenStates, encode
from distill.training_set import collate

WIDE = EncoderSpec(layers=3, hidden_size=48, attention_heads=12, intermediate_size=64, vocabulary_size=50)
SLIM = EncoderSpec(layers=2, hidden_size=32, attention_heads=4, intermediate_size=48, vocabulary_size=50)
LENGTHS = (6, 3, 5)


def flows(loss: Tensor, into: Tensor) -> Tensor:
    loss.backward()
    assert into.grad is not None
    assert torch.isfinite(into.grad).all()
    return into.grad


def test_hidden_mse_by_hand() -> None:
    # 2 layers, 1 text, 2 tokens, 2 dimensions; the second token is padding.
    student = torch.zeros(2, 1, 2, 2, requires_grad=True)
    teacher = torch.tensor([[[[1.0, 3.0], [100.0, 100.0]]], [[[0.0, 2.0], [100.0, 100.0]]]])
    loss = losses.hidden_mse(student, teacher, torch.tensor([[1, 0]]))
    assert loss.item() == pytest.approx((1 + 9 + 0 + 4) / 4)
    gradient = flows(loss, student)
    assert not gradient[:, :, 1].any()  # padding pulls nothing
    torch.testing.assert_close(gradient[0, 0, 0], torch.tensor([-0.5, -1.5]))


def test_hidden_mse_without_padding_is_the_plain_mean_square() -> None:
    student, teacher = torch.randn(3, 4, 5, 6), torch.randn(3, 4, 5, 6)
    mask = torch.ones(4, 5, dtype=torch.int64)
    expected = torch.nn.functional.mse_loss(student, teacher).item()
    assert losses.hidden_mse(student, teacher, mask).item() == pytest.approx(expected, rel=1e-5)
    assert losses.hidden_mse(student, student, mask).item() == 0.0


def test_hidden_mse_does_not_depend_on_how_far_a_batch_is_padded() -> None:
    student, teacher = torch.randn(2, 2, 3, 4), torch.randn(2, 2, 3, 4)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    noise = torch.full((2, 2, 5, 4), 50.0)
    longer = torch.cat([mask, torch.zeros(2, 5, dtype=torch.int64)], dim=1)
    padded = losses.hidden_mse(torch.cat([student, noise], 2), torch.cat([teacher, -noise], 2), longer)
    assert padded.item() == pytest.approx(losses.hidden_mse(student, teacher, mask).item(), rel=1e-6)


def random_encoder(spec: EncoderSpec, seed: int) -> SentenceEncoder:
    """Weights large enough that attention and relations are far from uniform."""
    torch.manual_seed(seed)
    encoder = build(spec)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return encoder.eval()


@pytest.fixture(scope="module")
def teacher() -> SentenceEncoder:
    return random_encoder(WIDE, 1)


@pytest.fixture
def student() -> SentenceEncoder:
    return random_encoder(SLIM, 2)


def batch(padded: int = 0) -> tuple[Tensor, Tensor]:
    """input_ids and mask, (3, 6 + padded) each."""
    generator = torch.Generator().manual_seed(4)
    rows = [{"input_ids": torch.randint(4, 50, (n,), generator=generator).tolist()} for n in LENGTHS]
    wanted = ("row", "binary", "family", "subfamily")
    found = collate([row | dict.fromkeys(wanted, 0) for row in rows])
    more = torch.full((len(rows), padded), 1)
    return torch.cat([found["input_ids"], more], 1), torch.cat([found["attention_mask"], 0 * more], 1)


def states(encoder: SentenceEncoder, padded: int = 0) -> TokenStates:
    last = encoder.spec.layers
    return encode(encoder, *batch(padded), Layers((1, last), (1, last), (last,)))[1]


Compare = Callable[[TokenStates, TokenStates, Tensor], Tensor]


def by_relations(student: TokenStates, teacher: TokenStates, mask: Tensor) -> Tensor:
    assert student.projections is not None
    assert teacher.projections is not None
    parts = zip(vars(student.projections).values(), vars(teacher.projections).values(), strict=True)
    return torch.stack([losses.relations(mine, theirs, mask, 16) for mine, theirs in parts]).mean()


def by_attention_kl(student: TokenStates, teacher: TokenStates, mask: Tensor) -> Tensor:
    assert student.scores is not None
    assert teacher.scores is not None
    return losses.attention_kl(student.scores, teacher.scores, mask)


def by_attention_mse(student: TokenStates, teacher: TokenStates, mask: Tensor) -> Tensor:
    assert student.scores is not None
    assert teacher.scores is not None
    return losses.attention_mse(student.scores, teacher.scores, mask)


ALL = pytest.mark.parametrize("compare", [by_relations, by_attention_kl, by_attention_mse])


@ALL
def test_twelve_heads_of_48_teach_four_of_32_and_no_gradient_reaches_them(
    compare: Compare, teacher: SentenceEncoder, student: SentenceEncoder
) -> None:
    with torch.no_grad():
        wanted = states(teacher)
    loss = compare(states(student), wanted, batch()[1])
    assert loss.item() > 1e-3
    loss.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    last = student.transformer.encoder.layer[-1].get_submodule("attention.attn.q")
    assert last.weight.grad is not None
    assert torch.isfinite(last.weight.grad).all()
    assert last.weight.grad.abs().sum() > 0


@ALL
def test_a_model_learns_nothing_from_itself(compare: Compare, teacher: SentenceEncoder) -> None:
    found = states(teacher)
    loss = compare(found, found, batch()[1])
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    loss.backward()
    assert all(p.grad is None or p.grad.abs().max() < 1e-5 for p in teacher.parameters())
    teacher.zero_grad()


@ALL
def test_padding_never_changes_a_loss(compare: Compare, teacher: SentenceEncoder, student: SentenceEncoder) -> None:
    short, longer = (compare(states(student, n), states(teacher, n), batch(n)[1]).item() for n in (0, 7))
    assert longer == pytest.approx(short, rel=1e-5)


@ALL
def test_what_stands_at_padding_never_counts(
    compare: Compare, teacher: SentenceEncoder, student: SentenceEncoder
) -> None:
    def spoiled(found: TokenStates) -> TokenStates:
        assert found.projections is not None
        assert found.scores is not None
        gone = batch(2)[1] == 0
        parts = [part.masked_fill(gone[:, :, None], 1e4) for part in vars(found.projections).values()]
        at_pairs = (gone[:, None, :] | gone[:, :, None])[None, :, None]
        scores = found.scores.masked_fill(at_pairs, 1e4)
        return replace(found, projections=type(found.projections)(*parts), scores=scores)

    mine, theirs, mask = states(student, 2), states(teacher, 2), batch(2)[1]
    plain = compare(mine, theirs, mask).item()
    assert compare(spoiled(mine), spoiled(theirs), mask).item() == pytest.approx(plain, rel=1e-5)


@ALL
def test_half_precision_with_infinite_padding_stays_finite(
    compare: Compare, teacher: SentenceEncoder, student: SentenceEncoder
) -> None:
    theirs, mask = states(teacher, 2), batch(2)[1]
    assert theirs.projections is not None
    assert theirs.scores is not None
    halves = [part.half() for part in vars(theirs.projections).values()]
    overflowing = theirs.scores.masked_fill(mask[:, None, None, :] == 0, float("-inf")).half()
    half = replace(theirs, projections=type(theirs.projections)(*halves), scores=overflowing)
    mine = states(student, 2)
    exact, rough = compare(mine, theirs, mask), compare(mine, half, mask)
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact.item(), rel=1e-2)
    rough.backward()
    grads = [p.grad for p in student.parameters() if p.grad is not None]
    assert all(torch.isfinite(grad).all() for grad in grads)


def naive_relations(student: Tensor, teacher: Tensor, mask: Tensor, heads: int) -> float:
    """MiniLMv2's loss written out: text by text, head by head, token by token, over real tokens alone."""

    def relation(vectors: Tensor, head: int, token: int) -> list[float]:
        size = vectors.shape[-1] // heads
        part = vectors[:, head * size : (head + 1) * size].tolist()
        dots = [
            math.exp(sum(a * b for a, b in zip(part[token], other, strict=True)) / math.sqrt(size)) for other in part
        ]
        return [dot / sum(dots) for dot in dots]

    values = []
    for text, length in enumerate(mask.sum(1).tolist()):
        for head in range(heads):
            for token in range(length):
                wanted = relation(teacher[text, :length], head, token)
                given = relation(student[text, :length], head, token)
                values.append(sum(p * math.log(p / q) for p, q in zip(wanted, given, strict=True)))
    return sum(values) / len(values)


@pytest.mark.parametrize("heads", [1, 4, 16])
def test_relations_equal_the_loop(heads: int) -> None:
    torch.manual_seed(6)
    student, teacher, mask = torch.randn(3, 6, 32), torch.randn(3, 6, 48), batch()[1]
    loss = losses.relations(student, teacher, mask, heads)
    assert loss.item() == pytest.approx(naive_relations(student, teacher, mask, heads), rel=1e-5)


def plain_relations(student: Tensor, teacher: Tensor, mask: Tensor, heads: int) -> Tensor:
    """The same in torch's operators, for its gradient."""
    logs = []
    for vectors in (student, teacher):
        cut = vectors.unflatten(-1, (heads, -1)).transpose(1, 2)
        scores = cut @ cut.transpose(-1, -2) * cut.shape[-1] ** -0.5
        logs.append(scores.masked_fill(mask[:, None, None, :] == 0, -1e30).log_softmax(-1))
    per_query = (logs[1].exp() * (logs[1] - logs[0])).sum(-1) * mask[:, None, :]
    return per_query.sum() / (mask.sum() * heads)


@pytest.mark.parametrize("chunk", [1, 300, 10**6])  # one text at a time, two, all at once
def test_the_gradient_of_relations_is_the_true_one(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill.losses.self_relations.CHUNK", chunk)
    torch.manual_seed(8)
    student, teacher, mask = torch.randn(3, 6, 32, requires_grad=True), torch.randn(3, 6, 48), batch()[1]
    expected = plain_relations(student, teacher, mask, 4)
    (wanted,) = torch.autograd.grad(3.0 * expected, student)
    loss = losses.relations(student, teacher.requires_grad_(), mask, 4)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(flows(3.0 * loss, student), wanted)
    assert teacher.grad is None
    with torch.no_grad():
        assert losses.relations(student, teacher, mask, 4).item() == pytest.approx(expected.item(), rel=1e-5)


def test_relations_by_hand() -> None:
    # One head of width 1; tokens 0 and 1. Teacher (1, 0): rows softmax(1, 0) and (1/2, 1/2); student (0, 0): all 1/2.
    student = torch.zeros(1, 2, 1, requires_grad=True)
    teacher = torch.tensor([[[1.0], [0.0]]])
    p = math.e / (1 + math.e)
    expected = (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))) / 2
    loss = losses.relations(student, teacher, torch.ones(1, 2, dtype=torch.int64), 1)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    flows(loss, student)


def test_more_relation_heads_see_more() -> None:
    """A swap of two dimensions keeps all dot products within one head, not within two."""
    teacher = torch.tensor([[[1.0, 2.0], [3.0, -1.0]]])
    mask = torch.ones(1, 2, dtype=torch.int64)
    swapped = teacher.flip(-1)
    assert losses.relations(swapped, teacher, mask, 1).item() == pytest.approx(0.0, abs=1e-6)
    assert losses.relations(swapped, teacher, mask, 2).item() > 0.1


def scores(*rows: list[float]) -> Tensor:
    """One layer, one text, one head: (1, 1, 1, tokens, tokens) from probabilities."""
    return torch.tensor(rows).log()[None, None, None]


def test_attention_maps_by_hand() -> None:
    teacher = scores([0.75, 0.25], [0.5, 0.5]).requires_grad_()
    student = scores([0.5, 0.5], [0.5, 0.5]).requires_grad_()
    mask = torch.ones(1, 2, dtype=torch.int64)
    divergence = losses.attention_kl(student, teacher.detach(), mask)
    assert divergence.item() == pytest.approx((0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2, rel=1e-5)
    assert losses.attention_mse(student, teacher.detach(), mask).item() == pytest.approx((0.0625 + 0.0625) / 2)
    # d KL / d scores = given - wanted, over two queries
    torch.testing.assert_close(flows(divergence, student)[0, 0, 0, 0], torch.tensor([-0.125, 0.125]))


def test_padding_is_taken_out_of_attention_before_the_softmax() -> None:
    teacher = scores([0.3, 0.1, 0.6], [0.2, 0.2, 0.6], [0.1, 0.1, 0.8])
    student = scores([0.2, 0.2, 0.6], [0.4, 0.4, 0.2], [0.8, 0.1, 0.1])
    loss = losses.attention_kl(student, teacher, torch.tensor([[1, 1, 0]]))
    assert loss.item() == pytest.approx((0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2, rel=1e-5)


def test_unlike_numbers_of_heads_are_compared_by_their_average() -> None:
    two = torch.cat([scores([1.0, 1e-30], [0.5, 0.5]), scores([0.5, 0.5], [0.5, 0.5])], dim=2)  # averages 3/4, 1/4
    one = scores([0.75, 0.25], [0.5, 0.5])
    other = scores([0.5, 0.5], [0.5, 0.5])
    mask = torch.ones(1, 2, dtype=torch.int64)
    for compare in (losses.attention_kl, losses.attention_mse):
        assert compare(two, one, mask).item() == pytest.approx(0.0, abs=1e-6)
        assert compare(other, two, mask).item() == pytest.approx(compare(other, one, mask).item(), rel=1e-5)
    swapped = two.flip(2)  # heads in another order: the same average, but not head by head
    assert losses.attention_kl(swapped, two, mask).item() > 0.1


def test_the_states_taken_are_those_the_layers_work_with(student: SentenceEncoder) -> None:
    ids, mask = batch()
    output, found = encode(student, ids, mask, Layers((2,), (2,), (1,)))
    plain = student(ids, mask)
    torch.testing.assert_close(output.sentence_embedding, plain.sentence_embedding)
    assert found.hidden is not None
    torch.testing.assert_close(found.hidden[0], plain.last_hidden_state)
    assert found.projections is not None
    first = student.transformer.encoder.layer[0].get_submodule("attention.attn")
    torch.testing.assert_close(found.projections.key, first.k(student.transformer.embeddings(ids)))
    # The map of layer 2, applied to its values, is what its attention gives.
    assert found.scores is not None
    second = student.transformer.encoder.layer[1].get_submodule("attention.attn")
    state = student(ids, mask, hidden_states=True).hidden_states[1]
    value = second.v(state).view(3, 6, 4, 8).transpose(1, 2)
    mixed = (found.scores[0].softmax(-1) @ value).transpose(1, 2).reshape(3, 6, 32)
    torch.testing.assert_close(second.o(mixed), second(state, student.transformer.bias(mask)), atol=1e-5, rtol=1e-5)


def test_nothing_is_kept_that_is_not_asked_for(student: SentenceEncoder) -> None:
    output, found = encode(student, *batch(), Layers())
    assert found == TokenStates()
    assert output.hidden_states == ()
    assert not output.inside
