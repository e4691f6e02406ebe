"""A student measured against its teacher on the same rows: decisions, figures, probabilities, embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.encoder import Encoder
from core.ensemble import EnsembleEncoder
from core.manifest import Manifest
from core.provenance import hardware, timestamp
from core.rows import Rows
from core.schema import Evaluation
from eval.accuracy import accuracy
from eval.comparing.agreeing import agreements, kept_shares, likenesses
from eval.comparing.changes import flips
from eval.comparing.geometry import geometry, sample
from eval.comparing.paired import changes, tests
from eval.figures import DECISION, decisions, figures, resampled
from eval.kept import Predictions
from eval.metrics import bootstrap
from eval.schema import SYNTHETIC
from eval.schema.fidelity import Fidelity, Side


class Model(Protocol):
    """What is asked of either: `core.pipeline.Pipeline` is one, whatever its encoder."""

    folder: Path
    model_id: str
    precision: str
    encoder: Encoder
    described: Mapping[str, Any]

    def classify(self, texts: Sequence[str], batch_size: int = 32) -> Predictions: ...

    def use_threads(self, threads: int) -> None: ...


@dataclass(frozen=True, eq=False)
class Said:
    """What one model says of the rows, and its embeddings of the sample."""

    side: Side
    predictions: Predictions
    embeddings: NDArray[np.float32]  # (sample, dim)


def fidelity(
    student: Model,
    teacher: Model,
    rows: Rows,
    evaluation: Evaluation,
    *,
    names: tuple[str, str],
    synthetic: bool,
    provenance: Mapping[str, Any],
    seed: int,
) -> Fidelity:
    """How much of the teacher the student keeps (Stanton et al. 2021), on all cores; writes nothing.

    names: what student and teacher are called in the report. Both are resampled together, so what makes rows hard for
    both cancels out. UserError: NaN scores, a model of another taxonomy than the rows'.
    """
    repeats, drawn = evaluation.bootstrap_repeats, sample(rows, seed)
    after, before = (
        _asked(model, name, rows, drawn.texts, repeats, seed)
        for model, name in zip((student, teacher), names, strict=True)
    )
    weights = bootstrap.resample(rows.labels, rows.groups, repeats, seed)
    both = before.predictions, after.predictions
    probability = both[0].attack_probability, both[1].attack_probability
    said = decisions(both[0]), decisions(both[1])
    whole, part = ((figures(rows, one), resampled(rows, one, weights)) for one in both)
    return Fidelity(
        timestamp=timestamp(),
        split=evaluation.split,
        rows=len(rows),
        attacks=int((rows.labels == 1).sum()),
        benign=int((rows.labels == 0).sum()),
        clusters=len(set(rows.groups)),
        repeats=repeats,
        seed=seed,
        synthetic=SYNTHETIC if synthetic else None,
        teacher=before.side,
        student=after.side,
        figures=changes(*whole, *part),
        kept=kept_shares(*whole, *part),
        mcnemar=tests(rows.labels, *said),
        decisions=agreements(rows.labels, *said, weights),
        flips=flips(rows, *probability, DECISION),
        probabilities=likenesses(rows.labels, *probability, weights),
        embeddings=geometry(drawn, before.embeddings, after.embeddings, repeats, seed),
        provenance=dict(provenance),
    )


def _asked(model: Model, name: str, rows: Rows, drawn: Sequence[str], repeats: int, seed: int) -> Said:
    model.use_threads(hardware()["cores"])
    predictions, embeddings = model.classify(rows.texts), embedded(model.encoder, drawn)
    side = Side(
        name=name,
        model_id=model.model_id,
        folder=str(model.folder),
        digest=Manifest(model.folder, model.described).digest,
        precision=model.precision,
        dimension=embeddings.shape[1],
        accuracy=accuracy(rows, predictions, repeats, seed),
    )
    return Said(side, predictions, embeddings)


def embedded(encoder: Encoder, texts: Sequence[str]) -> NDArray[np.float32]:
    """(texts, dim): what a student could imitate, without the scores that stand before it in an ensemble's rows.

    The texts are encoded a second time rather than all rows kept: a lexical embedding of 5,000 takes 1.8 GB.
    """
    scores = encoder.scores if isinstance(encoder, EnsembleEncoder) else 0
    return encoder.encode(texts)[:, scores:]
