"""distill.student: where a student starts, the projection it is given, and when there is nothing to learn."""

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.model import EncoderSpec, SentenceEncoder, build
from core.schema import Experiment, Student
from distill import student
from distill.grow import widen
from distill.minilm import minilm_encoder
from distill.student import agreement, fit_projection, initial, layer_map, refuse_if_same, uniform_layers

IDS, MASK = torch.tensor([[0, 2031, 2095, 2003, 2]]), torch.ones(1, 5, dtype=torch.int64)


@pytest.fixture(scope="module")
def deep() -> SentenceEncoder:
    """Five layers, every weight distinct."""
    torch.manual_seed(3)
    encoder = build(EncoderSpec(layers=5, hidden_size=16, attention_heads=4, intermediate_size=32))
    relative = encoder.transformer.encoder.relative_attention_bias
    assert relative is not None
    torch.nn.init.normal_(relative.weight)
    return encoder.eval()


def small(**changed: object) -> Student:
    settings = {"layers": 2, "hidden_size": 16, "attention_heads": 4, "intermediate_size": 32, "init": "teacher"}
    return Student.model_validate({**settings, "projection": False, **changed})


@pytest.mark.parametrize(
    ("layers", "of", "expected"),
    [
        (6, 12, (1, 3, 5, 7, 9, 11)),
        (1, 12, (11,)),
        (4, 12, (2, 5, 8, 11)),
        (3, 3, (0, 1, 2)),
        (2, 5, (1, 4)),
        (5, 6, (0, 1, 3, 4, 5)),
    ],
)
def test_uniform_layers_by_hand(layers: int, of: int, expected: tuple[int, ...]) -> None:
    assert uniform_layers(layers, of) == expected


def test_uniform_layers_are_distinct_ascending_and_end_with_the_last() -> None:
    for of in range(1, 25):
        for layers in range(1, of + 1):
            chosen = uniform_layers(layers, of)
            assert len(set(chosen)) == layers
            assert list(chosen) == sorted(chosen)
            assert chosen[0] >= 0
            assert chosen[-1] == of - 1


def test_layer_map_counts_from_one() -> None:
    assert layer_map(3, 12) == {1: 4, 2: 8, 3: 12}


def same_layer(encoder: SentenceEncoder, layer: int, source: SentenceEncoder, taken: int) -> bool:
    pairs = zip(
        encoder.transformer.encoder.layer[layer].parameters(),
        source.transformer.encoder.layer[taken].parameters(),
        strict=True,
    )
    return all(torch.equal(left, right) for left, right in pairs)


@pytest.mark.parametrize(("given", "taken"), [(None, (1, 4)), ([3, 0], (3, 0)), ([2, 2], (2, 2))])
def test_from_teacher_layers(deep: SentenceEncoder, given: list[int] | None, taken: tuple[int, ...]) -> None:
    encoder = initial(small(teacher_layers=given), deep)
    assert encoder.spec.layers == len(encoder.transformer.encoder.layer) == 2
    for layer, source in enumerate(taken):
        assert same_layer(encoder, layer, deep, source)
    mine, theirs = encoder.transformer.state_dict(), deep.transformer.state_dict()
    for name in ("embeddings.word_embeddings.weight", "encoder.relative_attention_bias.weight"):
        assert torch.equal(mine[name], theirs[name])


def test_all_teacher_layers_are_the_teacher_and_training_them_leaves_it_alone(deep: SentenceEncoder) -> None:
    encoder = initial(small(layers=5), deep).eval()
    with torch.no_grad():
        wanted = deep(IDS, MASK).sentence_embedding
        torch.testing.assert_close(encoder(IDS, MASK).sentence_embedding, wanted)
        for parameter in encoder.parameters():
            parameter.zero_()
        torch.testing.assert_close(deep(IDS, MASK).sentence_embedding, wanted)


def test_a_half_precision_teacher_gives_an_fp32_student(deep: SentenceEncoder) -> None:
    half = build(deep.spec).half()
    assert {parameter.dtype for parameter in initial(small(), half).parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("changed", "remedy"),
    [
        ({"hidden_size": 32}, "student.hidden_size=16"),
        ({"attention_heads": 2, "intermediate_size": 64}, "student.attention_heads=4 student.intermediate_size=32"),
    ],
)
def test_teacher_layers_of_another_shape_are_refused(
    deep: SentenceEncoder, changed: dict[str, object], remedy: str
) -> None:
    with pytest.raises(UserError, match=rf"as the teacher's: write {remedy}; or use student\.init=minilm or random$"):
        initial(small(**changed), deep)


def test_a_teacher_of_another_architecture_lends_no_layers() -> None:
    teacher = build(EncoderSpec(4, 16, 4, 32, vocabulary_size=50, architecture="hybrid"))
    with pytest.raises(UserError, match=r"write student\.architecture=hybrid; or use student\.init=minilm or random$"):
        initial(small(), teacher)


def test_a_layer_that_the_teacher_lacks_is_refused(deep: SentenceEncoder) -> None:
    with pytest.raises(UserError, match=r"student\.teacher_layers names layer 5; the teacher has 0 to 4"):
        initial(small(teacher_layers=[0, 5]), deep)


@pytest.mark.parametrize("layers", [6, 24])
def test_more_layers_than_the_teacher_has_are_refused(deep: SentenceEncoder, layers: int) -> None:
    with pytest.raises(
        UserError, match=rf"a student of {layers} layers cannot .* a teacher of 5: lower student\.layers"
    ):
        initial(small(layers=layers), deep)
    assert initial(small(layers=6, teacher_layers=[0, 0, 1, 2, 3, 4]), deep).spec.layers == 6


def test_random_is_fresh_seeded_and_of_the_shape_asked_for(deep: SentenceEncoder) -> None:
    config = small(init="random", layers=3, hidden_size=24, attention_heads=3, dropout=0.25, projection=True)
    torch.manual_seed(1)
    first = initial(config, deep)
    torch.manual_seed(1)
    again = initial(config, deep)
    spec = first.spec
    assert (spec.layers, spec.hidden_size, spec.attention_heads, spec.dropout) == (3, 24, 3, 0.25)
    assert spec.projection == spec.embedding_size == 16  # the teacher's width
    assert first.projection is not None
    assert first.projection.weight.shape == (16, 24)
    assert all(torch.equal(left, right) for left, right in zip(first.parameters(), again.parameters(), strict=True))
    assert first.transformer.embeddings.word_embeddings.weight.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("layers", range(2, 13))
def test_random_students_may_be_as_deep_as_they_like(layers: int) -> None:
    """From the configuration to an embedding; eleven depths, and as many widths."""
    heads = layers - 1
    width = heads * (2 * layers + 5)
    section = {"init": "random", "layers": layers, "hidden_size": width, "attention_heads": heads}
    given = {"name": "x", "output": "x", "data": {"synthetic": True}, "student": {**section, "intermediate_size": 50}}
    config = Experiment.model_validate(given).student
    teacher = build(EncoderSpec(1, 20, 2, 24, vocabulary_size=2500))
    encoder = initial(config, teacher).eval()
    assert len(encoder.transformer.encoder.layer) == layers
    output = encoder(IDS, MASK)
    assert output.last_hidden_state.shape == (1, 5, width)
    assert output.sentence_embedding.shape == (1, 20)
    assert torch.isfinite(output.sentence_embedding).all()
    output.sentence_embedding.sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_minilm_takes_the_real_first_layer_and_a_projection_to_the_teacher(deep: SentenceEncoder) -> None:
    encoder = initial(Student(layers=1, init="minilm", dropout=0.0), deep).eval()
    real = minilm_encoder().eval()
    assert encoder.spec.layers == 1
    assert encoder.spec.hidden_size == 384
    assert encoder.spec.embedding_size == 16
    assert same_layer(encoder, 0, real, 0)
    with torch.no_grad():
        hidden = real(IDS, MASK, hidden_states=True).hidden_states[1]
        output = encoder(IDS, MASK)
    torch.testing.assert_close(output.last_hidden_state, hidden)
    assert output.sentence_embedding.shape == (1, 16)


def test_minilm_refuses_a_teacher_of_another_vocabulary() -> None:
    foreign = build(EncoderSpec(1, 16, 4, 32, vocabulary_size=500))
    with pytest.raises(UserError, match=r"speaks 30527 tokens, the teacher 500: use student\.init=random or teacher"):
        initial(Student(layers=1, init="minilm"), foreign)


def projecting(inputs: int, outputs: int) -> SentenceEncoder:
    return build(EncoderSpec(1, inputs, 2, 8, vocabulary_size=20, projection=outputs))


def test_fit_projection_recovers_a_linear_map() -> None:
    generator = np.random.default_rng(0)
    pooled = generator.normal(size=(200, 8)).astype(np.float32)
    wanted = generator.normal(size=(12, 8)).astype(np.float32)
    encoder = projecting(8, 12)
    fit_projection(encoder, pooled, pooled @ wanted.T, ridge=1e-8)
    assert encoder.projection is not None
    np.testing.assert_allclose(encoder.projection.weight.detach().numpy(), wanted, atol=1e-5)
    assert encoder.projection.weight.requires_grad


def test_fit_projection_is_ridge_regression_by_hand() -> None:
    # One input: sum(x y) / (sum(x x) + ridge * sum(x x)) with x = (1, 2), y = (3, 6), ridge 0.5: 15 / 7.5.
    encoder = build(EncoderSpec(1, 1, 1, 1, vocabulary_size=20, projection=1))
    fit_projection(encoder, np.array([[1.0], [2.0]], np.float32), np.array([[3.0], [6.0]], np.float32), ridge=0.5)
    assert encoder.projection is not None
    assert encoder.projection.weight.item() == pytest.approx(2.0)


def test_fit_projection_stays_small_where_there_are_fewer_texts_than_dimensions() -> None:
    generator = np.random.default_rng(1)
    pooled, wanted = (generator.normal(size=(3, 8)).astype(np.float32) for _ in range(2))
    encoder = projecting(8, 8)
    fit_projection(encoder, pooled, wanted)
    assert encoder.projection is not None
    assert torch.isfinite(encoder.projection.weight).all()
    assert encoder.projection.weight.abs().max() < 10


def embed(encoder: SentenceEncoder, count: int = 40) -> np.ndarray:
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(200, 30000, (count, 9), generator=generator)
    with torch.no_grad():
        return encoder.eval()(ids, torch.ones_like(ids)).sentence_embedding.numpy()


def test_an_identical_and_a_widened_copy_are_refused(tiny_encoder: SentenceEncoder) -> None:
    mine = embed(tiny_encoder)
    wide = embed(widen(tiny_encoder, 2))
    assert wide.shape[1] == 2 * mine.shape[1]
    for other in (mine, wide):
        with pytest.raises(UserError, match=r"1\.0000 > 0\.98\): there is nothing to distil; fine-tune the teacher"):
            refuse_if_same(mine, other)


def test_another_encoder_is_accepted(tiny_encoder: SentenceEncoder, tiny_spec: EncoderSpec) -> None:
    torch.manual_seed(8)
    other = build(tiny_spec)
    assert agreement(embed(tiny_encoder), embed(other)) < student.SAME
    refuse_if_same(embed(tiny_encoder), embed(other))


def test_agreement_does_not_see_a_rotation_but_sees_a_shuffle() -> None:
    generator = np.random.default_rng(2)
    points = generator.normal(size=(30, 6)).astype(np.float32)
    rotation = np.linalg.qr(generator.normal(size=(6, 6)))[0].astype(np.float32)
    assert agreement(points, points @ rotation) == pytest.approx(1.0, abs=1e-5)
    assert agreement(points, points[::-1]) < 0.5
