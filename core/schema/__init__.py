"""What an experiment may say: one frozen, strict pydantic model per section of the YAML."""

from __future__ import annotations

import difflib
from typing import Annotated

from pydantic import Field, model_validator

from core.schema.base import NamedPath, Section
from core.schema.data import Columns, Data, Source
from core.schema.ensemble import Ensemble
from core.schema.fitting import refuse_missing_layers
from core.schema.guard import Cascade, Serving, Triggers
from core.schema.judging import Evaluation, Limits
from core.schema.learning import Training
from core.schema.lexical import Lexical
from core.schema.losses import SENTENCE_TERMS, TOKEN_TERMS, Losses, Term
from core.schema.mining import Mining
from core.schema.options import Options
from core.schema.pruning import Pruning
from core.schema.serving import Export, Heads, Parity
from core.schema.student import Student
from core.schema.teaching import Targets, Teacher

__all__ = [
    "Cascade",
    "Columns",
    "Data",
    "Ensemble",
    "Evaluation",
    "Experiment",
    "Export",
    "Heads",
    "Lexical",
    "Limits",
    "Losses",
    "Mining",
    "Options",
    "Parity",
    "Pruning",
    "Serving",
    "Source",
    "Student",
    "Targets",
    "Teacher",
    "Term",
    "Training",
    "Triggers",
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
    """The checkpoint folder that a command works on: judges, times, prunes, exports, mines with or fits parts to."""
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
    lexical: Lexical = Lexical()
    """The TF-IDF baseline."""
    ensemble: Ensemble = Ensemble()
    """Unlike checkpoints blended into one."""
    mining: Mining = Mining()
    """Hard negatives."""
    pruning: Pruning = Pruning()
    """What is cut off a checkpoint."""
    triggers: Triggers = Triggers()
    """Triggers, attack clusters and first layer."""
    serving: Serving = Serving()
    """What the pipeline does besides asking the model."""
    cascade: Cascade = Cascade()
    """What may decide before the model."""
    export: Export = Export()
    """ONNX."""
    evaluation: Evaluation = Evaluation()
    """The verdict."""
    options: Options = Options()
    """The table of options."""

    @property
    def needs_teacher(self) -> bool:
        """Whether a loss, the student's first layers or its new projection ask for a teacher."""
        distilled = not self.losses.terms().keys().isdisjoint((*SENTENCE_TERMS, *TOKEN_TERMS))
        projected = self.student.projection and self.student.init != "checkpoint"
        return distilled or projected or self.student.init == "teacher"

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        terms = self.losses.terms()
        if not terms:
            raise ValueError("every weight in `losses` is 0: there is nothing to learn")
        embedding = "embedding_cosine" in terms or "embedding_mse" in terms
        width = self.teacher.hidden_size if self.teacher.origin == "grown" else None  # None: known when it is opened
        reduced = self.targets.embedding_size
        known = reduced or width
        if embedding and not self.student.projection and known and known != self.student.hidden_size:
            theirs = f"targets.embedding_size {reduced}" if reduced else f"teacher.hidden_size {width}"
            raise ValueError(
                f"`losses.embedding_cosine` and `losses.embedding_mse` compare student.hidden_size"
                f" {self.student.hidden_size} with {theirs}:"
                " set student.projection to true or both weights to 0 (losses.similarity compares any two widths)"
            )
        by_token = next((name for name in TOKEN_TERMS if name in terms), None)
        if self.student.vocabulary_size and by_token:
            raise ValueError(
                f"`losses.{by_token}` compares token by token, and `student.vocabulary_size` gives the student other"
                " tokens: set its weight to 0, or leave vocabulary_size out"
            )
        if self.student.excerpt and by_token:
            raise ValueError(
                f"`losses.{by_token}` compares token by token, and `student.excerpt` leaves tokens out: set its weight"
                " to 0, or leave excerpt out"
            )
        if by_token and self.teacher.training and self.student.max_length > self.teacher.max_length:
            raise ValueError(
                f"`losses.{by_token}` compares token by token: student.max_length must not exceed teacher.max_length"
            )
        refuse_missing_layers(self.student, self.losses)
        if not ("task" in terms or "logits_kd" in terms) and self.heads.kind == "linear":
            raise ValueError(
                "`losses.task` and `losses.logits_kd` are 0, so the linear heads are never trained:"
                " set `heads.kind: logistic` to fit them on the embeddings"
            )
        return self

    @model_validator(mode="after")
    def _unlabelled_texts_teach(self) -> Experiment:
        if self.data.unlabelled and self.losses.terms().keys().isdisjoint((*SENTENCE_TERMS, *TOKEN_TERMS)):
            raise ValueError(
                "`data.unlabelled` has no labels to learn from, and no term of `losses` learns from the teacher: give"
                " embedding_cosine or another such term a weight, or leave the texts out (distill.mine also reads"
                " `mining.texts`)"
            )
        return self

    @model_validator(mode="after")
    def _split_is_given(self) -> Experiment:
        split, known = self.evaluation.split, ("validation", "test", *self.data.extra)
        if split not in known:
            near = difflib.get_close_matches(split, known, 1, 0.5)
            sets = ", ".join(self.data.extra) or "no set"
            remedy = f'did you mean "{near[0]}"?' if near else "judge on one of these or add it there"
            raise ValueError(
                f'`evaluation.split` is "{split}", neither validation nor test nor in `data.extra`,'
                f" which holds {sets}; {remedy}"
            )
        return self
