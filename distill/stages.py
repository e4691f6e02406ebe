"""The stages of a distillation: fine-tune the teacher, cache its targets, train the student; each resumable."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import set_seed

from core import checkpoint, manifest
from core.data import Corpus
from core.errors import UserError
from core.heads import LinearHead
from core.model import SentenceEncoder
from core.rows import Taxonomy
from core.schema import Experiment, Losses, Training
from core.tokenizer import TextTokenizer
from core.torch_encoder import TorchEncoder, in_running_type
from distill import student, teacher
from distill.classifier import Logits, SentenceClassifier, TorchHeads
from distill.finish import make_classifier, step_report
from distill.fit_heads import fit_logistic
from distill.targets import TargetCache, Teacher, cache_targets, cached_states, hidden_megabytes, live_states
from distill.trainer import fit
from distill.training_set import HiddenSource, TeacherTargets, TrainingSet

PROJECTION_TEXTS = 4096  # on which a new projection is fitted
AGREEMENT_TEXTS = 256  # on which student and teacher are compared before training
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
    def texts(self) -> tuple[str, ...]:
        """Training, then validation texts."""
        return self.corpus.splits["train"].texts + self.corpus.splits["validation"].texts

    def workspace(self, stage: str, recipe: str) -> Path:
        """The Trainer's folder of a stage; refuses to resume a run that had another recipe."""
        folder = self.experiment.output / "training" / stage
        note = folder / RECIPE
        if self.resume and note.is_file() and note.read_text().strip() != recipe:
            raise UserError(
                f"{folder} was begun with another configuration, data or seed, so it cannot be resumed:"
                " restore them, delete that folder to begin this stage again, or start all over with --overwrite"
            )
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(recipe + "\n")
        return folder

    def finished(self, folder: Path, recipe: str) -> bool:
        """Whether --resume may take this stage's checkpoint as it stands."""
        if not (self.resume and folder.is_dir()):
            return False
        return manifest.read(folder).fields.get("recipe") == recipe


def recipe(*parts: object) -> str:
    """Identity of everything that decides a stage's result."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def make_teacher(run: Run) -> Path:
    """Fine-tunes the teacher on the labels and writes its checkpoint; returns the folder."""
    config, experiment = run.experiment.teacher, run.experiment
    if config.training is None:
        return _given_teacher(run)
    folder = experiment.output / "teacher"
    origin = teacher.origin_hash(config)
    identity = recipe(
        config.model_dump(), origin, experiment.heads.model_dump(), experiment.seed, run.corpus.fingerprints
    )
    if run.finished(folder, identity):
        return folder
    workspace = run.workspace("teacher", identity)
    set_seed(experiment.seed)
    encoder, tokenizer_folder = teacher.initial(config, run.corpus.splits["train"].texts, workspace, experiment.seed)
    tokenizer = TextTokenizer.open(tokenizer_folder, config.max_length)
    model = SentenceClassifier(encoder, TorchHeads(encoder.spec.embedding_size, run.taxonomy))
    on_labels = Losses(embedding_cosine=0.0, logits_kd=0.0, task=1.0)
    _train(run, model, tokenizer, on_labels, config.training, workspace, {})
    stored = _stored_type(model.encoder.eval(), tokenizer, run)
    return _finish(run, folder, model, stored, tokenizer, tokenizer_folder, {"recipe": identity})


def make_student(run: Run, teacher_folder: Path) -> Path:
    """Caches the teacher's targets, trains the student on them and writes its checkpoint; returns the folder."""
    experiment, config, terms = run.experiment, run.experiment.student, run.experiment.losses
    source = Teacher.open(teacher_folder)
    folder = experiment.output / "student"
    sections = [section.model_dump() for section in (config, terms, experiment.heads)]
    identity = recipe(*sections, experiment.seed, run.corpus.fingerprints, source.digest)
    if run.finished(folder, identity):
        return folder
    workspace = run.workspace("student", identity)
    set_seed(experiment.seed)
    tokenizer = TextTokenizer.open(teacher_folder, config.max_length)
    seen = source.encoder.tokenizer.max_length  # a given teacher's own, whatever teacher.max_length says
    if terms.hidden_mse and seen != config.max_length:
        raise UserError(
            f"losses.hidden_mse compares token by token, but the teacher was made for {seen} tokens and"
            f" student.max_length is {config.max_length}: make them equal"
        )
    encoder = student.initial(config, source.encoder.model)
    distilling = any((terms.embedding_cosine, terms.embedding_mse, terms.hidden_mse, terms.logits_kd))
    targets: dict[str, TeacherTargets] = {}
    layers = student.layer_map(config.layers, source.encoder.model.spec.layers) if terms.hidden_mse else {}
    if distilling or config.projection:
        cache = cache_targets(source, run.texts, experiment.targets.cache_dir, (), experiment.targets.tokens_per_batch)
        _start_from_teacher(run, encoder, tokenizer, cache, distilling)
        if distilling:
            raw = checkpoint.load_classifier(teacher_folder, manifest.read(teacher_folder).fields).heads
            hidden = _hidden_cache(run, source, tuple(layers.values())) if layers else None
            targets = {name: _targets(run, name, cache, raw, source, layers, hidden) for name in run.corpus.splits}
    width = source.encoder.model.spec.hidden_size
    heads = TorchHeads(encoder.spec.embedding_size, run.taxonomy)
    model = SentenceClassifier(encoder, heads, tuple(layers), width if layers else None)
    _train(run, model, tokenizer, terms, config.training, workspace, targets)
    origin = {"parent": {"name": "teacher", "digest": source.digest}, "recipe": identity}
    return _finish(run, folder, model, torch.float32, tokenizer, teacher_folder, origin)


def _train(
    run: Run,
    model: SentenceClassifier,
    tokenizer: TextTokenizer,
    terms: Losses,
    training: Training,
    workspace: Path,
    targets: Mapping[str, TeacherTargets],
) -> None:
    """One run of the Trainer, in place; every step checkpoint is judged on validation."""
    experiment = run.experiment
    judge = partial(
        step_report,
        corpus=run.corpus,
        taxonomy=run.taxonomy,
        heads=experiment.heads,
        evaluation=experiment.evaluation,
        provenance=run.provenance,
    )
    train_set, validation_set = (
        TrainingSet.of(run.corpus.splits[name], run.taxonomy, tokenizer, targets.get(name))
        for name in ("train", "validation")
    )
    start = time.perf_counter()
    fit(
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
    )
    tokens = sum(map(len, train_set.data["input_ids"])) * training.num_train_epochs
    print(f"{workspace.name}: {tokens / (time.perf_counter() - start):,.0f} tokens/s, validation and saving included")


def _given_teacher(run: Run) -> Path:
    """A teacher that is already one of our checkpoints, with heads for the same classes."""
    folder = teacher.locate(str(run.experiment.teacher.name_or_path))
    if not (folder / manifest.NAME).is_file():
        raise UserError(
            f"teacher.training is null, but {folder} is not one of our checkpoints and has no heads:"
            " give teacher.training so that it is fine-tuned on the labels"
        )
    known = checkpoint.load_classifier(folder, manifest.read(folder).fields).taxonomy
    if (known.families, known.subfamilies) != (run.taxonomy.families, run.taxonomy.subfamilies):
        raise UserError(f"{folder} was trained for other families or sub-families than the data has; fine-tune it")
    return folder


def _stored_type(encoder: SentenceEncoder, tokenizer: TextTokenizer, run: Run) -> torch.dtype:
    """The type to store the teacher in: as configured; `auto` is FP16 unless its embeddings drift from FP32's."""
    wanted = run.experiment.teacher.dtype
    if wanted != "auto":
        return getattr(torch, wanted)
    texts = run.corpus.splits["validation"].texts[:64]
    exact = TorchEncoder(encoder, tokenizer).encode(texts)
    half = TorchEncoder(in_running_type(copy.deepcopy(encoder).half()), tokenizer).encode(texts)
    worst = float((exact * half).sum(1).min())
    return torch.float16 if worst >= CORRECT_COSINE else torch.float32


def _start_from_teacher(
    run: Run, encoder: SentenceEncoder, tokenizer: TextTokenizer, cache: TargetCache, distilling: bool
) -> None:
    """Refuses a student that already equals its teacher; fits the new projection, in place."""
    projection, encoder.projection = encoder.projection, None
    texts = run.corpus.splits["train"].texts[:PROJECTION_TEXTS]
    pooled = TorchEncoder(encoder, tokenizer).encode(texts)
    encoder.projection = projection
    wanted = cache.embeddings(texts)
    if distilling:
        student.refuse_if_same(pooled[:AGREEMENT_TEXTS], wanted[:AGREEMENT_TEXTS])
    if projection is not None:
        student.fit_projection(encoder, pooled, wanted)


def _hidden_cache(run: Run, source: Teacher, layers: tuple[int, ...]) -> TargetCache | None:
    """Cached token-level targets when they fit the stated budget; None: computed live."""
    settings = run.experiment.targets
    needed = hidden_megabytes(source, run.texts, layers)
    if needed > settings.disk_budget_mb:
        print(
            f"hidden states would take {needed:,.0f} MB, targets.disk_budget_mb is {settings.disk_budget_mb:,.0f}: live"
        )
        return None
    return cache_targets(source, run.texts, settings.cache_dir, layers, settings.tokens_per_batch)


def _targets(
    run: Run,
    name: str,
    cache: TargetCache,
    heads: Mapping[str, LinearHead],
    source: Teacher,
    layers: Mapping[int, int],
    hidden: TargetCache | None,
) -> TeacherTargets:
    """What the teacher says of one split."""
    texts = run.corpus.splits[name].texts
    embedding = cache.embeddings(texts)
    if not np.isfinite(embedding).all():
        raise UserError(f"the teacher gives NaN embeddings for {name} texts: set teacher.dtype=float32")
    scores = {part: torch.from_numpy(head.logits(embedding)) for part, head in heads.items()}
    logits = Logits(scores["binary"][:, 0], scores["family"], scores["subfamily"])
    states: HiddenSource | None = None
    if layers:
        states = cached_states(hidden, texts) if hidden is not None else live_states(source, tuple(layers.values()))
    return TeacherTargets(torch.from_numpy(embedding), logits, states)


def _finish(
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
