"""The student before its training: from MiniLM, from layers of the teacher, or at random; and what it may learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from core.errors import UserError
from core.model import EncoderSpec, SentenceEncoder, build
from core.schema import Student
from distill.minilm import minilm_encoder

# Correlation of two models' pairwise similarities above which they are the same function to rounding and noise.
# Measured: a freshly grown teacher against MiniLM 0.99; after fine-tuning far below.
SAME = 0.98

COPIED = ("architecture", "hidden_size", "attention_heads", "intermediate_size")  # what whole layers bring along


def uniform_layers(student: int, teacher: int) -> tuple[int, ...]:
    """Which teacher layers (from 0) a student of fewer layers takes: evenly spaced, the last one included.

    Raises UserError where the student is the deeper one.
    """
    if student > teacher:
        raise UserError(
            f"a student of {student} layers cannot take evenly spaced ones of a teacher of {teacher}: lower"
            " student.layers, or name them (student.teacher_layers, and losses.layer_map: pairs)"
        )
    return tuple(round((index + 1) * teacher / student) - 1 for index in range(student))


def layer_map(student: int, teacher: int) -> dict[int, int]:
    """Student layer -> teacher layer, both counted from 1 as in hidden_states, evenly spaced."""
    return {index + 1: layer + 1 for index, layer in enumerate(uniform_layers(student, teacher))}


def initial(config: Student, teacher: SentenceEncoder, embedding_size: int | None = None) -> SentenceEncoder:
    """The FP32 student; its projection, if any, to `embedding_size` (null: the teacher's) is random until
    `fit_projection`.

    Raises UserError where the teacher's shape does not allow the initialisation asked for.
    """
    projection = embedding_size or teacher.spec.embedding_size if config.projection else None
    spec = replace(
        teacher.spec,
        layers=config.layers,
        hidden_size=config.hidden_size,
        attention_heads=config.attention_heads,
        intermediate_size=config.intermediate_size,
        dropout=config.dropout,
        projection=projection,
        architecture=config.architecture,
        head_size=None,
        layer_heads=None,
        layer_intermediate_sizes=None,
        excerpt=None,
    )
    match config.init:
        case "minilm":
            source = minilm_encoder(config.layers if config.architecture == "mpnet" else 0, config.dropout)
            if source.spec.vocabulary_size != teacher.spec.vocabulary_size:
                raise UserError(
                    f"student.init=minilm speaks {source.spec.vocabulary_size} tokens, the teacher"
                    f" {teacher.spec.vocabulary_size}: use student.init=random or teacher"
                )
            if config.architecture != "mpnet":
                eps, places = source.spec.layer_norm_eps, source.spec.max_positions
                return _with_embeddings(source, replace(spec, layer_norm_eps=eps, max_positions=places))
            spec = replace(source.spec, projection=projection)
            weights = source.transformer.state_dict()
        case "teacher":
            weights = _teacher_weights(config, teacher)
        case "random":
            return build(spec)
    encoder = build(spec)
    encoder.transformer.load_state_dict(weights)
    return encoder


def _with_embeddings(source: SentenceEncoder, spec: EncoderSpec) -> SentenceEncoder:
    """A student of another architecture: what its embeddings share with the source's (LayerNorm too), random beyond."""
    encoder = build(spec)
    mine, theirs = (model.transformer.embeddings.state_dict() for model in (encoder, source))
    encoder.transformer.embeddings.load_state_dict({name: theirs.get(name, value) for name, value in mine.items()})
    return encoder


def refuse_other_shape(config: Student, teacher: EncoderSpec) -> None:
    """Raises UserError where the teacher's layers have no place in the student."""
    if teacher.is_cut:
        raise UserError(
            "student.init=teacher copies whole layers, and this teacher's were pruned: use student.init=checkpoint"
        )
    unlike = [name for name in COPIED if getattr(config, name) != getattr(teacher, name)]
    if unlike:
        wanted = " ".join(f"student.{name}={getattr(teacher, name)}" for name in unlike)
        raise UserError(
            f"student.init=teacher copies whole layers, so they must be as the teacher's: write {wanted}; or use"
            " student.init=minilm or random"
        )


def _chosen_layers(config: Student, teacher: EncoderSpec) -> tuple[int, ...]:
    """Which teacher layers, from 0, the student takes; UserError for those that the teacher lacks."""
    assert config.teacher_layers != "search", "distill.layer_search.named comes first"
    chosen = config.teacher_layers or uniform_layers(config.layers, teacher.layers)
    if max(chosen) >= teacher.layers:
        raise UserError(f"student.teacher_layers names layer {max(chosen)}; the teacher has 0 to {teacher.layers - 1}")
    return chosen


def _teacher_weights(config: Student, teacher: SentenceEncoder) -> dict[str, torch.Tensor]:
    """The state of a student whose layers are chosen layers of the teacher."""
    refuse_other_shape(config, teacher.spec)
    state = teacher.transformer.state_dict()
    kept = {name: value for name, value in state.items() if not name.startswith("encoder.layer.")}
    for new, old in enumerate(_chosen_layers(config, teacher.spec)):
        prefix = f"encoder.layer.{old}."
        kept |= {
            f"encoder.layer.{new}.{name.removeprefix(prefix)}": value
            for name, value in state.items()
            if name.startswith(prefix)
        }
    return kept


@torch.no_grad()
def fit_projection(
    encoder: SentenceEncoder, pooled: NDArray[np.float32], targets: NDArray[np.float32], ridge: float = 1e-2
) -> None:
    """Sets the projection to the ridge regression from pooled states (texts, hidden) to targets (texts, dim), in place.

    A closed form instead of the first thousand steps of training.
    """
    assert encoder.projection is not None
    left, right = torch.from_numpy(pooled).double(), torch.from_numpy(targets).double()
    gram = left.T @ left
    gram += ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    encoder.projection.weight.copy_(torch.linalg.solve(gram, left.T @ right).T.float())


def agreement(student: NDArray[np.float32], teacher: NDArray[np.float32]) -> float:
    """Correlation of the pairwise similarities that two models give the same texts; (texts, any dim) each."""
    above = np.triu_indices(len(student), k=1)
    return float(np.corrcoef((student @ student.T)[above], (teacher @ teacher.T)[above])[0, 1])


def refuse_if_same(student: NDArray[np.float32], teacher: NDArray[np.float32]) -> None:
    """Raises UserError when student and teacher already are the same function, so that nothing can be distilled."""
    value = agreement(student, teacher)
    if value > SAME:
        raise UserError(
            f"the untrained student already agrees with the teacher (correlation of similarities {value:.4f} > {SAME}):"
            " there is nothing to distil; fine-tune the teacher on the labels (teacher.training), give another teacher,"
            " or switch the distillation terms off (losses.embedding_cosine=0 losses.logits_kd=0 …)"
        )
