"""One run of the stages: what it knows, whether it may be resumed, and how trained weights become a checkpoint."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from core import checkpoint, manifest
from core.data import Corpus
from core.errors import UserError
from core.folders import atomic_write
from core.model import SentenceEncoder
from core.rows import Taxonomy
from core.schema import Experiment, Losses, Training
from core.tokenizer import TextTokenizer
from core.torch_encoder import TorchEncoder, in_running_type
from distill import distributed
from distill.classifier import SentenceClassifier
from distill.finish import make_classifier, step_report
from distill.fit import fit
from distill.heads.logistic import fit_logistic
from distill.training_set import TeacherTargets, TrainingSet

CORRECT_COSINE = 0.995  # worst cosine to FP32 at which half precision counts as correct
RECIPE = "recipe.txt"


@dataclass(frozen=True)
class Run:
    """What every stage needs to know."""

    experiment: Experiment
    corpus: Corpus
    taxonomy: Taxonomy
    provenance: Mapping[str, Any]
    resume: bool

    @property
    def learnt(self) -> tuple[str, ...]:
        """What a student trains on, in the order of its `TrainingSet`: labelled texts, then unlabelled ones."""
        return self.corpus.splits["train"].texts + self.corpus.unlabelled

    @property
    def texts(self) -> tuple[str, ...]:
        """All that the teacher is asked about: training, unlabelled, then validation texts."""
        return self.learnt + self.corpus.splits["validation"].texts

    def workspace(self, stage: str, recipe: str) -> Path:
        """The Trainer's folder of a stage; refuses to resume a run that had another recipe."""
        folder = self.experiment.output / "training" / stage
        distributed.by_first(lambda: self._begin(folder, recipe))
        return folder

    def _begin(self, folder: Path, recipe: str) -> None:
        note = folder / RECIPE
        if self.resume and note.is_file() and note.read_text().strip() != recipe:
            raise UserError(
                f"{folder} was begun with another configuration, data or seed, so it cannot be resumed:"
                " restore them, delete that folder to begin this stage again, or start all over with --overwrite"
            )
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(note, recipe + "\n")  # half of it would look like another recipe

    def finished(self, folder: Path, recipe: str) -> bool:
        """Whether --resume may take this stage's checkpoint as it stands."""

        def kept() -> bool:
            if not (self.resume and folder.is_dir()):
                return False
            return bool(manifest.read(folder).fields.get("recipe") == recipe)

        return distributed.by_first(kept)


def recipe(*parts: object) -> str:
    """Identity of everything that decides a stage's result."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def train_classifier(
    run: Run,
    model: SentenceClassifier,
    tokenizer: TextTokenizer,
    terms: Losses,
    training: Training,
    workspace: Path,
    targets: Mapping[str, TeacherTargets],
    callbacks: Sequence[TrainerCallback] = (),
) -> None:
    """One run of the Trainer, in place; every step checkpoint is judged on validation.

    Texts without labels are trained on where `targets` say what a teacher thinks of them.
    """
    experiment = run.experiment
    judge = partial(
        step_report,
        corpus=run.corpus,
        taxonomy=run.taxonomy,
        heads=experiment.heads,
        evaluation=experiment.evaluation,
        provenance=run.provenance,
    )
    splits, unlabelled = run.corpus.splits, run.corpus.unlabelled if "train" in targets else ()
    train_set = TrainingSet.of(splits["train"], run.taxonomy, tokenizer, targets.get("train"), unlabelled)
    validation_set = TrainingSet.of(splits["validation"], run.taxonomy, tokenizer, targets.get("validation"))
    start = time.perf_counter()
    epochs = fit(
        model,
        train_set,
        validation_set,
        terms,
        training,
        experiment.heads,
        workspace,
        experiment.seed,
        judge,
        run.resume,
        callbacks,
        experiment.student.sparsity.score_learning_rate if experiment.student.sparsity else None,
    )
    if not run.resume:  # a resumed run has not trained all of it in this time
        tokens = sum(map(len, train_set.data["input_ids"])) * epochs
        speed = tokens / (time.perf_counter() - start)
        print(f"{workspace.name}: {speed:,.0f} training tokens/s, validation and saving included")


def stored_type(encoder: SentenceEncoder, tokenizer: TextTokenizer, run: Run) -> torch.dtype:
    """The type to store the teacher in: as configured; `auto` is FP16 unless its embeddings drift from FP32's."""
    wanted = run.experiment.teacher.dtype
    if wanted != "auto":
        return getattr(torch, wanted)
    texts = run.corpus.splits["validation"].texts[:64]
    exact = TorchEncoder(encoder, tokenizer).encode(texts)
    half = TorchEncoder(in_running_type(copy.deepcopy(encoder).half()), tokenizer).encode(texts)
    worst = float((exact * half).sum(1).min())
    return torch.float16 if worst >= CORRECT_COSINE else torch.float32


def finish(
    run: Run,
    folder: Path,
    model: SentenceClassifier,
    stored: torch.dtype,
    tokenizer: TextTokenizer,
    tokenizer_folder: Path,
    fields: Mapping[str, Any],
) -> Path:
    """Heads, operating point and scores on the weights as they are stored and run; writes the checkpoint."""
    experiment, splits = run.experiment, run.corpus.splits
    encoder = model.encoder.to(stored)
    running = TorchEncoder(in_running_type(copy.deepcopy(encoder)), tokenizer)
    heads = model.heads.to_linear()
    if experiment.heads.kind == "logistic":
        heads = fit_logistic(running.encode(splits["train"].texts), splits["train"], run.taxonomy, experiment.heads)
    embeddings = running.encode(splits["validation"].texts)
    classifier, scores = make_classifier(heads, embeddings, run.corpus, run.taxonomy, experiment.heads)
    described = {"seed": experiment.seed, "scores": scores, "provenance": dict(run.provenance)}
    if run.corpus.synthetic:
        described["synthetic"] = True
    checkpoint.save(folder, encoder, classifier, tokenizer.max_length, tokenizer_folder, {**fields, **described})
    return folder
