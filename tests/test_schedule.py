"""Weights over the steps, and which layers teach which: by hand, and every mistake refused."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from core.config import ConfigError, load, resolved, write_resolved
from core.errors import UserError
from core.model import EncoderSpec
from core.schema import Losses, Student, Term
from core.schema.losses import SENTENCE_TERMS, TOKEN_TERMS
from distill.experiment_run import recipe
from distill.layer_maps import late_layer, layer_plan, pairs
from distill.schedule import refuse_idle, weight_at, weights_at

BASE = "name: tiny\noutput: out\ndata: {synthetic: true}\n"
TEACHER = EncoderSpec(layers=12, hidden_size=768, attention_heads=12, intermediate_size=3072)


def over(steps: int, **settings: Any) -> list[float]:
    term = Term(**settings)
    return [weight_at(term, step, steps) for step in range(steps)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"weight": 3.0}, [3, 3, 3, 3]),
        ({"weight": 2.0, "warmup_steps": 4}, [0.5, 1, 1.5, 2, 2, 2]),
        ({"warmup_steps": 1}, [1, 1]),
        ({"from_step": 2}, [0, 0, 1, 1]),
        ({"until_step": 2}, [1, 1, 0, 0]),
        ({"weight": 4.0, "from_step": 1, "warmup_steps": 2, "until_step": 4}, [0, 2, 4, 4, 0]),
        ({"decay": "linear"}, [1, 0.75, 0.5, 0.25]),
        ({"decay": "linear", "until_step": 2}, [1, 0.5, 0, 0]),
        ({"decay": "linear", "until_step": 8}, [1, 0.75, 0.5, 0.25]),  # the training ends before
        ({"weight": 2.0, "decay": "linear", "from_step": 1, "warmup_steps": 2}, [0, 1, 2, 2, 1]),
        ({"decay": "cosine"}, [1, 0.75, 0.25]),  # (1 + cos(0, 60, 120 degrees)) / 2
        ({"decay": "cosine", "warmup_steps": 2, "until_step": 4}, [0.5, 1, 1, 0.5]),
    ],
)
def test_weights_by_hand(settings: dict[str, Any], expected: list[float]) -> None:
    assert over(len(expected), **settings) == pytest.approx(expected)


def test_a_step_that_resuming_begins_at_has_the_weight_it_had() -> None:
    """Nothing is remembered between steps."""
    terms = {"task": Term(weight=2.0, warmup_steps=5, decay="cosine"), "similarity": Term(from_step=3)}
    forward = [weights_at(terms, step, 9) for step in range(9)]
    assert [weights_at(terms, step, 9) for step in reversed(range(9))] == forward[::-1]
    assert forward[0] == {"task": 0.4, "similarity": 0.0}


def test_a_term_that_never_counts_is_refused() -> None:
    with pytest.raises(UserError, match=r"losses\.relations\.from_step is 50, but the training has 50 steps"):
        refuse_idle({"task": Term(), "relations": Term(from_step=50)}, 50)
    refuse_idle({"task": Term(), "relations": Term(from_step=49)}, 50)


def test_a_step_without_a_term_is_refused() -> None:
    gap = {"relations": Term(until_step=3), "task": Term(from_step=4)}
    with pytest.raises(UserError, match="no loss term counts in step 3 of 9"):
        refuse_idle(gap, 9)
    refuse_idle(gap | {"task": Term(from_step=3)}, 9)


def test_terms_are_those_with_a_weight() -> None:
    given = {"embedding_cosine": 0, "logits_kd": {"weight": 0.0, "from_step": 3}, "contrastive": {"until_step": 9}}
    assert Losses.model_validate(given).terms() == {"task": Term(), "contrastive": Term(until_step=9)}
    everything = Losses.model_validate(dict.fromkeys((*SENTENCE_TERMS, *TOKEN_TERMS), 1.0))
    assert everything.terms().keys() == {*SENTENCE_TERMS, *TOKEN_TERMS, "task"}


def test_a_number_is_short_for_its_section_and_makes_the_same_recipe(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(BASE + "losses: {task: 2, similarity: {weight: 0.5, warmup_steps: 10}}\n")
    short = load(path)
    assert short.losses.task == Term(weight=2.0)
    assert short.losses.similarity == Term(weight=0.5, warmup_steps=10)
    path.write_text(BASE + "losses: {task: {weight: 2.0}, similarity: 3}\n")
    long = load(path, ["losses.similarity={weight: 0.5, warmup_steps: 10}"])
    assert recipe(long.losses.model_dump()) == recipe(short.losses.model_dump())
    assert resolved(short)["losses"]["task"] == 2.0
    write_resolved(short, path)
    assert load(path) == short


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ("{task: -1}", "losses.task: -1 should be greater than or equal to 0"),
        ("{task: high}", "losses.task: a loss term is a number (its weight) or a section of `weight`"),
        ("{task: true}", "losses.task: a loss term is a number"),
        ("{task: {warmup: 3}}", 'losses.task.warmup: unknown key; did you mean "warmup_steps"?'),
        ("{task: {decay: exponential}}", "losses.task.decay: \"exponential\" should be 'none', 'linear' or 'cosine'"),
        ("{task: {until_step: 5, from_step: 5}}", "losses.task: `until_step` 5 leaves no step at full weight"),
        ("{task: {until_step: 5, warmup_steps: 6}}", "losses.task: `until_step` 5 leaves no step at full weight"),
        ("{similarty: 1}", 'losses.similarty: unknown key; did you mean "similarity"?'),
        ("{layer_map: pairs}", "losses: `layer_map: pairs` and `layer_pairs` need each other"),
        ("{layer_pairs: [[1, 2]]}", "losses: `layer_map: pairs` and `layer_pairs` need each other"),
        (
            "{layer_map: pairs, layer_pairs: [[0, 2]]}",
            "losses.layer_pairs[0][0]: 0 should be greater than or equal to 1",
        ),
        ("{layer_map: pairs, layer_pairs: [[3]]}", "losses.layer_pairs[0]: [3] should have at least 2 items"),
        ("{relation_heads: 0}", "losses.relation_heads: 0 should be greater than or equal to 1"),
        ("{balance_beta: 1.5}", "losses.balance_beta: 1.5 should be less than or equal to 1"),
        ("{class_weighting: balance}", 'did you mean "balanced"?'),
        ("{relations: 1}\nteacher: {max_length: 64}", "`losses.relations` compares token by token: student.max_length"),
        ("{attention_mse: 1}\nstudent: {max_length: 256}", "`losses.attention_mse` compares token by token"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, losses: str, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(BASE + f"losses: {losses}\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    _, *lines = str(caught.value).split("\n")
    assert len(lines) == 1, lines
    assert message in lines[0]


def test_a_checkpoint_to_start_from_is_named_where_it_is_asked_for() -> None:
    for given in ({"init": "checkpoint"}, {"name_or_path": "somewhere"}):
        with pytest.raises(ValidationError, match="`init: checkpoint` and `name_or_path` need each other"):
            Student.model_validate(given)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ((1, 4), (2, 8), (3, 12))),
        ({"layer_map": "last"}, ((3, 12),)),
        ({"layer_map": "last", "last_layers": 2}, ((2, 11), (3, 12))),
        ({"layer_map": "pairs", "layer_pairs": [[3, 10], [1, 1]]}, ((3, 10), (1, 1))),
    ],
)
def test_layer_maps_by_hand(settings: dict[str, Any], expected: tuple[tuple[int, int], ...]) -> None:
    assert pairs(Losses.model_validate(settings), 3, 12) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer_map": "last", "last_layers": 4}, r"losses\.last_layers is 4, but the student has 3 layers"),
        (
            {"layer_map": "pairs", "layer_pairs": [[4, 1]]},
            r"layer_pairs names layer 4 of the student, which has .* 1 to 3",
        ),
        ({"layer_map": "pairs", "layer_pairs": [[1, 13]]}, "names layer 13 of the teacher, which has layers 1 to 12"),
    ],
)
def test_layers_that_are_not_there_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        pairs(Losses.model_validate(settings), 3, 12)


def test_late_layers() -> None:
    assert [late_layer(layers) for layers in (1, 6, 12, 24)] == [1, 6, 12, 21]


def test_the_plan_holds_what_the_terms_with_a_weight_compare() -> None:
    student = Student(layers=3)
    plan = layer_plan(Losses.model_validate({"relations": 1, "attention_kl": 1}), student, TEACHER)
    assert (plan.student.relations, plan.teacher.relations) == ((3,), (12,))
    assert (plan.student.attention, plan.teacher.attention) == ((1, 2, 3), (4, 8, 12))
    assert not plan.student.hidden
    assert not plan.only(["task"])
    left = plan.only(["relations", "task"])
    assert left
    assert not left.teacher.attention
    assert not layer_plan(Losses(), Student(layers=24, init="random"), TEACHER)  # no term, so no map is needed
    chosen = {"relations": 1, "relation_teacher_layer": 10, "relation_student_layer": 2}
    plan = layer_plan(Losses.model_validate(chosen), student, TEACHER)
    assert (plan.student.relations, plan.teacher.relations) == ((2,), (10,))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"relation_heads": 36},
            r"relation_heads 36 must divide the width of the teacher, 768, and of the student, 384",
        ),
        (
            {"relation_teacher_layer": 13},
            r"relation_teacher_layer names layer 13 of the teacher, which has layers 1 to 12",
        ),
        (
            {"relation_student_layer": 7},
            r"relation_student_layer names layer 7 of the student, which has layers 1 to 6",
        ),
    ],
)
def test_relations_that_cannot_be_taken_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        layer_plan(Losses.model_validate({"relations": 1} | settings), Student(), TEACHER)
