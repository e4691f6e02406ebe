"""The stages of a distillation: fine-tune the teacher, cache its targets, train the student; each resumable."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from core import checkpoint, manifest
from core.errors import UserError
from core.model import EncoderSpec
from core.schema.losses import label_terms
from core.tokenizer import TextTokenizer
from distill import distributed, in_training, origins, student, vocabulary, warm_start
from distill.beginning import begin, plan
from distill.classifier import SentenceClassifier, TorchHeads
from distill.encoder_teacher import EncoderTeacher
from distill.experiment_run import Run, finish, recipe, stored_type, train_classifier
from distill.layer_maps import layer_plan
from distill.learning import learn_from
from distill.split_targets import refuse_shorter_reading
from distill.teachers import open_teacher


def make_teacher(run: Run) -> Path:
    """Fine-tunes the teacher on the labels and writes its checkpoint; returns the folder."""
    config, experiment = run.experiment.teacher, run.experiment
    if experiment.student.init == "checkpoint":
        begun = warm_start.verify(experiment.student)  # before the hours that a teacher takes
        if experiment.student.vocabulary_size:
            vocabulary.verify(begun, experiment.student.vocabulary_size)
    if config.training is None:
        return _given_teacher(run)
    folder = experiment.output / "teacher"
    origin, terms = origins.lineage(config), label_terms(experiment.losses)
    sections = [section.model_dump() for section in (config, terms, experiment.heads)]
    rows = {name: run.corpus.fingerprints[name] for name in run.corpus.splits}  # unlabelled texts teach it nothing
    identity = recipe(*sections, origin["digest"], experiment.seed, rows)
    if run.finished(folder, identity):
        return folder
    workspace = run.workspace("teacher", identity)
    set_seed(experiment.seed)
    texts = run.corpus.splits["train"].texts
    encoder, tokenizer_folder = distributed.in_turn(lambda: origins.initial(config, texts, workspace, experiment.seed))
    _refuse_early(run, encoder.spec, tokenizer_folder)
    tokenizer = TextTokenizer.open(tokenizer_folder, config.max_length)
    heads = TorchHeads(encoder.spec.embedding_size, run.taxonomy)
    if config.origin == "grown" and config.name_or_path:
        warm_start.load_heads(heads, origins.locate(config.name_or_path), run.taxonomy)
    model = SentenceClassifier(encoder, heads)
    train_classifier(run, model, tokenizer, terms, config.training, workspace, {})

    def write() -> Path:
        stored = stored_type(model.encoder.eval(), tokenizer, run)
        described = {"recipe": identity, "started_from": origin}
        return finish(run, folder, model, stored, tokenizer, tokenizer_folder, described)

    return distributed.by_first(write)


def _refuse_early(run: Run, teacher: EncoderSpec, tokenizer_folder: Path) -> None:
    """UserError for what the student cannot take from this teacher, before the hours of its training."""
    config, terms = run.experiment.student, run.experiment.losses
    if layer_plan(terms, config, teacher):
        refuse_shorter_reading(teacher, config.excerpt.tokens if config.excerpt else config.max_length, terms)
    if config.init == "teacher":
        student.refuse_other_shape(config, teacher)
    if config.vocabulary_size and config.init != "checkpoint":
        vocabulary.verify(tokenizer_folder, config.vocabulary_size)


def _given_teacher(run: Run) -> Path:
    """A teacher that is already one of our checkpoints, with heads for the same classes."""
    folder = origins.locate(str(run.experiment.teacher.name_or_path))
    if not (folder / manifest.NAME).is_file():
        raise UserError(
            f"teacher.training is null, but {folder} is not one of our checkpoints and has no heads:"
            " give teacher.training so that it is fine-tuned on the labels"
        )
    known = checkpoint.load_classifier(folder, manifest.read(folder).fields).taxonomy
    if not known.same_classes(run.taxonomy):
        raise UserError(f"{folder} was trained for other families or sub-families than the data has; fine-tune it")
    return folder


def make_student(run: Run, teacher_folder: Path | None) -> Path:
    """Caches the teacher's targets, trains the student on them and writes its checkpoint; returns the folder.

    Without a teacher it is fine-tuned on the labels alone.
    """
    experiment, config, terms = run.experiment, run.experiment.student, run.experiment.losses
    source = open_teacher(teacher_folder) if teacher_folder else None
    width = experiment.targets.embedding_size or (source.embedding_size if source else None)
    start = warm_start.start(config, width) if config.init == "checkpoint" else None
    folder = experiment.output / "student"
    sections = [section.model_dump() for section in (config, terms, experiment.heads)]
    origins_of = [part.digest for part in (source, start) if part]
    size = [experiment.targets.embedding_size] if experiment.targets.embedding_size else []
    identity = recipe(*sections, experiment.seed, run.corpus.fingerprints, *origins_of, *size)
    if run.finished(folder, identity):
        return folder
    workspace = run.workspace("student", identity)
    set_seed(experiment.seed)
    begun = begin(run, source, teacher_folder, start, width, workspace)
    layers = plan(run, source, begun)
    heads = TorchHeads(begun.encoder.spec.embedding_size, run.taxonomy)
    targets = {}
    if source and teacher_folder:
        targets = learn_from(run, source, teacher_folder, begun.encoder, begun.tokenizer, layers, start)
    if start:
        warm_start.load_heads(heads, start.folder, run.taxonomy, new_embedding=start.new_projection)
    teacher_width = source.encoder.model.spec.hidden_size if isinstance(source, EncoderTeacher) else None
    model = SentenceClassifier(begun.encoder, heads, teacher_width if layers.teacher.hidden else None)
    inside = begun.encoder.transformer.encoder
    callbacks = in_training.begin(begun.encoder, inside, config.sparsity, config.fake_quantisation)
    train_classifier(run, model, begun.tokenizer, terms, config.training, workspace, targets, callbacks)
    origin: dict[str, Any] = {"recipe": identity}
    if scales := in_training.end(begun.encoder):
        origin["activation_scales"] = {name: asdict(scale) for name, scale in scales.items()}
    origin["parent"] = {"name": teacher_folder.name, "digest": source.digest} if source and teacher_folder else None
    if start:
        origin["started_from"] = start.lineage

    def write() -> Path:
        return finish(run, folder, model, torch.float32, begun.tokenizer, begun.tokenizer_folder, origin)

    return distributed.by_first(write)
