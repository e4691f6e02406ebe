"""What an experiment may say: one frozen, strict pydantic model per section of the YAML."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from core.schema.base import NamedPath, Section
from core.schema.data import Columns, Data, Source
from core.schema.learning import Losses, Student, Targets, Teacher, Training
from core.schema.serving import Evaluation, Export, Heads, Limits, Parity

__all__ = [
    "Columns",
    "Data",
    "Evaluation",
    "Experiment",
    "Export",
    "Heads",
    "Limits",
    "Losses",
    "Parity",
    "Source",
    "Student",
    "Targets",
    "Teacher",
    "Training",
]


class Experiment(Section):
    """One complete experiment."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Short name; the model ids in reports begin with it."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 13
    """Seed of every random choice."""
    output: NamedPath
    """Folder of the results: checkpoints, serving folders, reports."""
    checkpoint: NamedPath | None = None
    """The checkpoint folder that `eval.run`, `export.run` and `distill.fit_heads` read; given on the command line."""
    data: Data
    """The labelled texts."""
    teacher: Teacher = Teacher()
    """The teacher."""
    student: Student = Student()
    """The student."""
    losses: Losses = Losses()
    """What the student learns from."""
    targets: Targets = Targets()
    """The teacher's cached outputs."""
    heads: Heads = Heads()
    """Classifiers and operating point."""
    export: Export = Export()
    """ONNX."""
    evaluation: Evaluation = Evaluation()
    """The verdict."""

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        learned = self.losses
        embedding = learned.embedding_cosine or learned.embedding_mse
        if not any((embedding, learned.hidden_mse, learned.logits_kd, learned.task)):
            raise ValueError("every weight in `losses` is 0: there is nothing to learn")
        same_width = self.teacher.origin == "grown" and self.teacher.hidden_size == self.student.hidden_size
        if embedding and not self.student.projection and self.teacher.origin == "grown" and not same_width:
            raise ValueError(
                f"`losses.embedding_cosine` and `losses.embedding_mse` compare student.hidden_size"
                f" {self.student.hidden_size} with teacher.hidden_size {self.teacher.hidden_size}:"
                " set student.projection to true or both weights to 0"
            )
        if self.student.max_length != self.teacher.max_length and learned.hidden_mse:
            raise ValueError(
                "`losses.hidden_mse` compares token by token: student.max_length and teacher.max_length must be equal"
            )
        if not (learned.task or learned.logits_kd) and self.heads.kind == "linear":
            raise ValueError(
                "`losses.task` and `losses.logits_kd` are 0, so the linear heads are never trained:"
                " set `heads.kind: logistic` to fit them on the embeddings"
            )
        return self
