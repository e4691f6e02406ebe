"""Whether the student's architecture has the layers, and these the attention, that the loss terms compare."""

from __future__ import annotations

from core.architectures import attending
from core.schema.losses import TOKEN_TERMS, Losses
from core.schema.student import Student

ATTENTION_TERMS = ("relations", "attention_kl", "attention_mse")


def refuse_missing_layers(student: Student, losses: Losses) -> None:
    """Raises ValueError where a term with a weight compares what the student lacks."""
    for name in (term for term in TOKEN_TERMS if term in losses.terms()):
        if student.architecture == "static":
            raise ValueError(
                f"`losses.{name}` compares layers, and `student.architecture: static` has none: set it to 0"
            )
        have = attending(student.architecture, student.layers)
        lacking = [layer for layer in _compared(name, student, losses) if layer not in have]
        if name not in ATTENTION_TERMS or not lacking:
            continue
        if not have:
            raise ValueError(
                f"`losses.{name}` compares queries, keys and values or what is made of them, and"
                f" `student.architecture: {student.architecture}` has none: set it to 0"
            )
        raise ValueError(
            f"`losses.{name}` compares the attention of the student's layers {_list(lacking)}, which are convolutions;"
            f" with `student.architecture: {student.architecture}` only {_list(have)} attend: choose among them"
            " (`losses.relation_student_layer`, `losses.layer_map: pairs`) or set it to 0"
        )


def _compared(name: str, student: Student, losses: Losses) -> list[int]:
    """The student's layers of a term, from 1; those that it has not are the business of `layer_plan`."""
    last = student.layers
    if name == "relations":
        chosen = [losses.relation_student_layer or last]
    elif losses.layer_map == "pairs":
        chosen = [mine for mine, _ in losses.layer_pairs or ()]
    else:
        first = 1 if losses.layer_map == "uniform" else max(1, last - losses.last_layers + 1)
        chosen = list(range(first, last + 1))
    return [layer for layer in chosen if layer <= last]


def _list(layers: list[int] | tuple[int, ...]) -> str:
    return ", ".join(map(str, layers))
