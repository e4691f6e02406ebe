"""The stages of a distillation: fine-tune the teacher, cache its targets, train the student; each resumable."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from transformers import set_seed

from core import checkpoint, manifest
from core.errors import UserError
from core.heads import LinearHead
from core.model import SentenceEncoder
from core.schema import Losses
from core.tokenizer import TextTokenizer
from core.torch_encoder import TorchEncoder
from distill import student, teacher
from distill.cache import TargetCache
from distill.classifier import Logits, SentenceClassifier, TorchHeads
from distill.experiment_run import Run, finish, recipe, stored_type, train_classifier
from distill.targets import Teacher, cache_targets, cached_states, hidden_megabytes, live_states
from distill.training_set import HiddenSource, TeacherTargets

PROJECTION_TEXTS = 4096  # on which a new projection is fitted
AGREEMENT_TEXTS = 256  # on which student and teacher are compared before training


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
    train_classifier(run, model, tokenizer, on_labels, config.training, workspace, {})
    stored = stored_type(model.encoder.eval(), tokenizer, run)
    return finish(run, folder, model, stored, tokenizer, tokenizer_folder, {"recipe": identity})


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
    train_classifier(run, model, tokenizer, terms, config.training, workspace, targets)
    origin = {"parent": {"name": "teacher", "digest": source.digest}, "recipe": identity}
    return finish(run, folder, model, torch.float32, tokenizer, teacher_folder, origin)


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
