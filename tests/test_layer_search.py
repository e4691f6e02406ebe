"""distill.layer_search: greedy elimination against its definition, and what asks for it in a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.model import SentenceEncoder
from core.schema import Student
from core.tokenizer import TextTokenizer, pad
from distill import layer_search
from distill.layer_search import TEXTS, Step, describe, eliminate, named, sample
from distill.student import agreement, initial
from tests.layer_factory import IDS, deep

SHAPE = {"hidden_size": 16, "attention_heads": 4, "intermediate_size": 32, "init": "teacher", "projection": False}


def student(layers: int, **changed: object) -> Student:
    return Student.model_validate({**SHAPE, "layers": layers, "teacher_layers": "search", **changed})


@torch.no_grad()
def embeddings(encoder: SentenceEncoder) -> np.ndarray:
    ids, mask = (torch.from_numpy(array) for array in pad(IDS))
    return encoder.eval()(ids, mask).sentence_embedding.numpy()


def test_each_step_is_the_best_of_all_students_with_one_layer_less() -> None:
    """By the definition: each student is built and compared."""
    teacher = deep(5)
    kept: tuple[int, ...] = tuple(range(5))
    steps = list(eliminate(teacher, IDS, 1))
    assert len(steps) == 4
    for step in steps:
        choices = [tuple(layer for layer in kept if layer != left_out) for left_out in kept]
        students = [initial(student(len(choice), teacher_layers=choice), teacher) for choice in choices]
        scores = [agreement(embeddings(one), embeddings(teacher)) for one in students]
        best = int(np.argmax(scores))
        assert (step.dropped, step.kept) == (kept[best], choices[best])
        assert step.agreement == pytest.approx(scores[best], abs=1e-5)
        assert sorted(scores)[-2] < scores[best] - 1e-4  # no tie that rounding decides
        kept = step.kept


def idle(teacher: SentenceEncoder, *layers: int) -> SentenceEncoder:
    """These layers give back what they get: they add nothing, and it is normalised already."""
    with torch.no_grad():
        for name, parameter in teacher.named_parameters():
            if "LayerNorm" in name:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
            elif any(name.startswith(f"transformer.encoder.layer.{layer}.") for layer in layers):
                parameter.zero_()
    return teacher


def test_layers_that_do_nothing_go_first() -> None:
    first, second, third = eliminate(idle(deep(6), 1, 4), IDS, 3)
    assert {first.dropped, second.dropped} == {1, 4}
    assert second.kept == (0, 2, 3, 5)
    assert second.agreement > 0.9999 > third.agreement


def test_of_equally_good_layers_the_lowest_goes() -> None:
    one = idle(deep(3), 0, 1, 2)
    assert [step.dropped for step in eliminate(one, IDS, 1)] == [0, 1]


def test_every_number_of_layers_and_the_fewer_are_among_the_more() -> None:
    teacher = deep(12)
    steps = list(eliminate(teacher, IDS[:12], 1))
    assert [len(step.kept) for step in steps] == list(range(11, 0, -1))
    larger = set(range(12))
    for step in steps:
        assert list(step.kept) == sorted(step.kept)
        assert set(step.kept) == larger - {step.dropped}
        larger = set(step.kept)
    for layers in (1, 6, 11):
        assert list(eliminate(teacher, IDS[:12], layers)) == steps[: 12 - layers]


def test_a_half_precision_teacher_is_searched_as_it_is() -> None:
    assert len(list(eliminate(deep(3).to(torch.bfloat16), IDS, 1))) == 2


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> TextTokenizer:
    return TextTokenizer.open(tokenizer_folder, 24)


def test_the_layers_are_named_and_every_step_is_printed(
    tiny_encoder: SentenceEncoder, tokenizer: TextTokenizer, tiny_rows: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = {"hidden_size": 32, "intermediate_size": 64}
    config = student(1, **shape)
    found = named(config, tiny_encoder, tokenizer, tiny_rows.texts, seed=3)
    (step,) = eliminate(tiny_encoder, tokenizer.encode(sample(tiny_rows.texts, 3)), 1)
    assert found == student(1, **shape, teacher_layers=step.kept)
    assert capsys.readouterr().out == describe(step) + "\n"
    assert initial(found, tiny_encoder).spec.layers == 1
    assert named(config, tiny_encoder, tokenizer, tiny_rows.texts, seed=3) == found


def test_a_line_says_what_went_and_what_is_left() -> None:
    line = "layer search: without layer 2 the similarities agree to 0.9875; left: 0 1 3"
    assert describe(Step(2, (0, 1, 3), 0.98749)) == line


def test_where_there_is_nothing_to_leave_out_nothing_runs(
    tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_search, "eliminate", None)
    assert named(student(5), deep(5), tokenizer, [], 0).teacher_layers == (0, 1, 2, 3, 4)
    for given in (None, [0, 3]):
        config = student(2, teacher_layers=given)
        assert named(config, deep(5), tokenizer, [], 0) is config
    with pytest.raises(UserError, match=r"a student of 6 layers cannot .* a teacher of 5: lower student\.layers"):
        named(student(6), deep(5), tokenizer, [], 0)
    with pytest.raises(UserError, match=r"write student\.hidden_size=16;"):
        named(student(2, hidden_size=32), deep(5), tokenizer, [], 0)


def test_the_sample_is_seeded_and_small() -> None:
    texts = [str(number) for number in range(1000)]
    first = sample(texts, 1)
    assert len(first) == len(set(first)) == TEXTS == 256
    assert set(first) <= set(texts)
    assert first == sample(texts, 1) != sample(texts, 2)
    assert sorted(sample(texts[:5], 1)) == texts[:5]
    with pytest.raises(UserError, match="there are only 2: give more, or name the layers"):
        sample(texts[:2], 1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"init": "random"}, "`teacher_layers` has no effect without `init: teacher`"),
        ({"teacher_layers": "serch"}, "should be 'search'"),
        ({"teacher_layers": [0, -1]}, "greater than or equal to 0"),
        ({"teacher_layers": [0, 1, 2]}, "`teacher_layers` names 3 layers, `layers` says 2"),
    ],
)
def test_what_the_configuration_refuses(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Student.model_validate({**SHAPE, "layers": 2, "teacher_layers": "search", **changed})
