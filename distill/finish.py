"""From trained weights to a checkpoint: operating point and scores from validation, triggers from training texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from core import triggers
from core.checkpoint import AnyHead, Classifier, describe
from core.data import Corpus
from core.decision import decide
from core.heads import HeadScores
from core.provenance import hardware, timestamp
from core.rows import Taxonomy
from core.schema import Evaluation, Heads
from distill.heads.calibration import calibrate_classes
from eval.evaluator import threshold_of
from eval.judge import Measured, judge
from eval.kept import Kept
from eval.metrics import validation_scores
from eval.operating_point import fit
from eval.report import write
from eval.resources import weigh
from eval.schema import Hardware


def make_classifier(
    heads: Mapping[str, AnyHead],
    embeddings: NDArray[np.float32] | csr_array,
    corpus: Corpus,
    taxonomy: Taxonomy,
    config: Heads,
) -> tuple[Classifier[AnyHead], dict[str, float]]:
    """The classifier with operating point and calibrations, and its validation scores.

    embeddings: (rows, dim) of the validation rows; sparse ones only for linear heads.
    """
    rows = corpus.splits["validation"]
    logits = heads["binary"].logits(embeddings)[:, 0]
    point = fit(logits, rows.labels, config, corpus.fingerprints["validation"])
    scores = validation_scores(rows.labels, logits.astype(np.float64) >= point.logit)  # numpy would round the threshold
    calibrations = calibrate_classes(heads, embeddings, rows, taxonomy, config)
    learned = triggers.learn(corpus.splits["train"], rows)
    return Classifier(heads, point, taxonomy, learned, calibrations), scores


def describe_scores(folder: Path, scores: Mapping[str, float]) -> str:
    """The line that ends whatever makes a checkpoint from embeddings."""
    return f"{folder}: validation F1 {scores['validation_f1']:.4f}, FPR {scores['validation_false_positive_rate']:.4f}"


def step_report(
    logits: tuple[NDArray[np.float32], ...],
    folder: Path,
    corpus: Corpus,
    taxonomy: Taxonomy,
    heads: Heads,
    evaluation: Evaluation,
    provenance: Mapping[str, object],
) -> None:
    """Writes a step checkpoint's validation report from the logits of the validation that just ran; no latency."""
    binary, family, subfamily = logits
    rows = corpus.splits["validation"]
    point = fit(binary, rows.labels, heads, corpus.fingerprints["validation"])
    scores = HeadScores(point.served(binary), family, subfamily)
    measured = Measured(
        model_id=f"{folder.parent.name}/{folder.name}",
        timestamp=timestamp(),
        hardware=Hardware.model_validate(hardware()),
        split="validation",
        synthetic=corpus.synthetic,
        provenance=provenance,
        resources=weigh(folder),
        threshold=threshold_of({"operating_point": describe(point)}),
    )
    kept = Kept(rows, decide(scores, taxonomy))
    write(judge(kept, measured, evaluation, int(str(provenance.get("seed", 0)))), folder)
