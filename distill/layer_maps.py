"""Which layer of the student learns from which of the teacher, for every token-level loss term."""

from __future__ import annotations

from core.errors import UserError
from core.model import EncoderSpec
from core.schema import Losses, Student
from distill.student import layer_map
from distill.token_states import LayerPlan, Layers


def pairs(config: Losses, student: int, teacher: int) -> tuple[tuple[int, int], ...]:
    """(student's layer, teacher's layer), from 1, of models with so many layers; UserError for layers they lack."""
    match config.layer_map:
        case "uniform":
            return tuple(layer_map(student, teacher).items())
        case "last":
            if config.last_layers > min(student, teacher):
                raise UserError(
                    f"losses.last_layers is {config.last_layers}, but the student has {student} layers and the teacher"
                    f" {teacher}: lower it"
                )
            return tuple((student - back, teacher - back) for back in reversed(range(config.last_layers)))
        case "pairs":
            assert config.layer_pairs is not None
            given = tuple((mine, theirs) for mine, theirs in config.layer_pairs)
            for mine, theirs in given:
                _refuse_missing("losses.layer_pairs", "student", mine, student)
                _refuse_missing("losses.layer_pairs", "teacher", theirs, teacher)
            return given


def late_layer(layers: int) -> int:
    """The teacher's layer whose relations teach best, from 1.

    The last of a base model, an upper middle one of a deeper (MiniLMv2, arXiv 2012.15828, takes 21 of BERT-large's 24).
    """
    return layers if layers <= 12 else round(layers * 7 / 8)


def layer_plan(config: Losses, student: Student, teacher: EncoderSpec) -> LayerPlan:
    """The layers that the terms with a weight compare; UserError where the two models cannot be compared so."""
    mapped = pairs(config, student.layers, teacher.layers) if _mapped(config) else ()
    mine, theirs = tuple(pair[0] for pair in mapped), tuple(pair[1] for pair in mapped)
    relations: tuple[tuple[int, int], ...] = ()
    if "relations" in config.terms():
        relations = (_relation_pair(config, student, teacher),)
    plan = LayerPlan(
        Layers(mine, mine, tuple(pair[0] for pair in relations)),
        Layers(theirs, theirs, tuple(pair[1] for pair in relations)),
    )
    return plan.only(config.terms())


def _mapped(config: Losses) -> bool:
    return not config.terms().keys().isdisjoint(("hidden_mse", "attention_kl", "attention_mse"))


def _relation_pair(config: Losses, student: Student, teacher: EncoderSpec) -> tuple[int, int]:
    """Student's and teacher's layer of `relations`."""
    heads = config.relation_heads
    widths = (teacher.hidden_size, student.hidden_size)
    if any(width % heads for width in widths):
        raise UserError(
            f"losses.relation_heads {heads} must divide the width of the teacher, {widths[0]}, and of the student,"
            f" {widths[1]}: choose a number that divides both"
        )
    mine = config.relation_student_layer or student.layers
    theirs = config.relation_teacher_layer or late_layer(teacher.layers)
    _refuse_missing("losses.relation_student_layer", "student", mine, student.layers)
    _refuse_missing("losses.relation_teacher_layer", "teacher", theirs, teacher.layers)
    return mine, theirs


def _refuse_missing(key: str, whose: str, layer: int, layers: int) -> None:
    if layer > layers:
        raise UserError(f"{key} names layer {layer} of the {whose}, which has layers 1 to {layers}")
