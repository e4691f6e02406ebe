"""How much of its teacher a student keeps: what `fidelity.json` holds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from eval.schema.accuracy import Accuracy
from eval.schema.base import Interval, Value, agree
from eval.schema.comparison import Change, Flip, FlipKind, McNemar, Those
from eval.schema.report import Stamp


class Estimate(Value):
    """A figure of the two models together."""

    value: float
    interval: Interval
    """95 %: bootstrap over near-duplicate clusters."""


class Side(Value):
    """One of the two models, and how it does by itself on the rows."""

    name: str
    """Its folder's name, with as many of the parents' as tell the two apart."""
    model_id: str
    folder: str
    digest: str
    """SHA-256 over the hashes of the folder's files."""
    precision: str
    dimension: int
    """Width of the embedding; 0: an ensemble without a dense member."""
    accuracy: Accuracy


class Agreement(Value):
    """Decisions of the two on the same texts."""

    texts: int = Field(ge=1)
    both_right: int
    only_teacher_right: int
    only_student_right: int
    both_wrong: int
    agreement: Estimate
    """Share of the texts decided alike; its interval is at least as wide as Wilson's."""
    flips: int
    """Texts decided otherwise by the student."""
    teacher_right_in_flips: float | None
    """Share of the flips in which the teacher is right; the student is in the rest. None: no flip."""

    @model_validator(mode="after")
    def _agrees(self) -> Agreement:
        alike, flips = self.both_right + self.both_wrong, self.only_teacher_right + self.only_student_right
        agree("texts", self.texts, alike + flips)
        agree("flips", self.flips, flips)
        agree("agreement", self.agreement.value, alike / self.texts)
        agree("teacher_right_in_flips", self.teacher_right_in_flips, self.only_teacher_right / flips if flips else None)
        return self


class Likeness(Value):
    """Attack probabilities of the two, as they are served, each with its own operating point at 0.5."""

    spearman: Estimate | None
    """Rank correlation; None where a model gives all texts the same."""
    mean_absolute_difference: Estimate
    divergence: Estimate
    """Mean Kullback-Leibler divergence of the decision, teacher from student, nats; probabilities are clipped to
    1e-6 … 1 - 1e-6."""


class Cosine(Value):
    """Cosine of the student's embedding of a text to the teacher's of the same."""

    mean: Estimate
    fifth_percentile: Estimate
    worst: float
    worst_text_hash: str
    worst_text: str
    """Its beginning."""


class Similarities(Value):
    """Each model's cosine between two texts, over all pairs: the same texts near, the same texts far?"""

    pairs: int = Field(ge=3)
    """Pairs of texts from different near-duplicate clusters: pairs within one would flatter every model."""
    repeats: int
    """Resamples of the clusters behind the intervals; pairs of a text with itself count in none."""
    spearman: Estimate | None
    """None where a model finds all texts equally alike."""
    pearson: Estimate | None
    teacher_mean: float
    """The teacher's mean similarity."""
    student_mean: float


class Embeddings(Value):
    """Embeddings of the two, on a sample of the texts."""

    texts: int
    """Drawn at random with the seed; all where there are no more."""
    clusters: int
    cosine: Cosine | None
    cosine_reason: str | None
    """Why the cosine cannot be said; None where it can."""
    similarities: Similarities | None
    similarities_reason: str | None

    @model_validator(mode="after")
    def _agrees(self) -> Embeddings:
        for name in ("cosine", "similarities"):
            if (getattr(self, name) is None) == (getattr(self, f"{name}_reason") is None):
                raise ValueError(f"either there is a figure of {name} or a reason why there is none")
        return self


class Fidelity(Value):
    """How much of its teacher a student keeps: what `fidelity.json` holds.

    Fidelity is how well a student matches its teacher's predictions, right or wrong, apart from how well it
    generalises (Stanton et al. 2021).
    """

    schema_version: Literal[1] = 1
    timestamp: str
    """When it was measured, UTC, ISO 8601."""
    split: str
    rows: int = Field(ge=1)
    attacks: int
    benign: int
    clusters: int
    """Near-duplicate clusters, the unit of the bootstrap."""
    repeats: int
    seed: int
    synthetic: Stamp | None
    teacher: Side
    student: Side
    figures: dict[str, Change]
    """Every accuracy figure: `before` is the teacher's, `after` the student's, the difference student minus teacher."""
    kept: dict[str, Estimate | None]
    """The student's F1 and recall as a share of the teacher's; None where the texts cannot say it."""
    mcnemar: dict[Those, McNemar]
    """Of right and wrong decisions; "before" is the teacher."""
    decisions: dict[Those, Agreement]
    flips: dict[FlipKind, tuple[Flip, ...]]
    """Every text that the student decides otherwise; `before` is the teacher's attack probability."""
    probabilities: dict[Those, Likeness]
    embeddings: Embeddings
    provenance: dict[str, Any]

    @model_validator(mode="after")
    def _agrees(self) -> Fidelity:
        agree("rows", self.rows, self.decisions["all"].texts)
        agree("attacks and benign texts", self.attacks + self.benign, self.rows)
        agree("flips", sum(map(len, self.flips.values())), self.decisions["all"].flips)
        for side in (self.teacher, self.student):
            agree(f"rows of {side.name}", side.accuracy.confusion_matrix.rows, self.rows)
        return self
