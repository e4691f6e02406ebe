"""The stages of a distillation: fine-tune the teacher, cache its targets, train the student; each resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from core import checkpoint, manifest
from core.errors import UserError
from core.model import SentenceEncoder
from core.schema import Losses
from core.schema.losses import OFF, SENTENCE_TERMS, TOKEN_TERMS
from core.tokenizer import TextTokenizer
from core.torch_encoder import TorchEncoder
from distill import distributed, student, teacher, warm_start
from distill.cache import TargetCache
from distill.classifier import SentenceClassifier, TorchHeads
from distill.experiment_run import Run, finish, recipe, stored_type, train_classifier
from distill.layer_maps import layer_plan
from distill.split_targets import hidden_cache, refuse_other_tokens, split_targets
from distill.targets import Teacher, cache_targets
from distill.token_states import LayerPlan
from distill.training_set import TeacherTargets

PROJECTION_TEXTS = 4096  # on which a new projection is fitted
AGREEMENT_TEXTS = 256  # on which student and teacher are compared before training


def make_teacher(run: Run) -> Path:
    """Fine-tunes the teacher on the labels and writes its checkpoint; returns the folder."""
    config, experiment = run.experiment.teacher, run.experiment
    if experiment.student.init == "checkpoint":
        warm_start.verify(experiment.student)  # before the hours that a teacher takes
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
    texts = run.corpus.splits["train"].texts
    encoder, tokenizer_folder = distributed.in_turn(lambda: teacher.initial(config, texts, workspace, experiment.seed))
    layer_plan(experiment.losses, experiment.student, encoder.spec)  # a mistake in it shows now
    tokenizer = TextTokenizer.open(tokenizer_folder, config.max_length)
    model = SentenceClassifier(encoder, TorchHeads(encoder.spec.embedding_size, run.taxonomy))
    on_labels = Losses(embedding_cosine=OFF, logits_kd=OFF)
    train_classifier(run, model, tokenizer, on_labels, config.training, workspace, {})

    def write() -> Path:
        stored = stored_type(model.encoder.eval(), tokenizer, run)
        return finish(run, folder, model, stored, tokenizer, tokenizer_folder, {"recipe": identity})

    return distributed.by_first(write)


def make_student(run: Run, teacher_folder: Path) -> Path:
    """Caches the teacher's targets, trains the student on them and writes its checkpoint; returns the folder."""
    experiment, config, terms = run.experiment, run.experiment.student, run.experiment.losses
    source = Teacher.open(teacher_folder)
    spec = source.encoder.model.spec
    begun = warm_start.start(config, spec.embedding_size) if config.init == "checkpoint" else None
    folder = experiment.output / "student"
    sections = [section.model_dump() for section in (config, terms, experiment.heads)]
    origins = [source.digest, *([begun.digest] if begun else [])]
    identity = recipe(*sections, experiment.seed, run.corpus.fingerprints, *origins)
    if run.finished(folder, identity):
        return folder
    workspace = run.workspace("student", identity)
    set_seed(experiment.seed)
    tokenizer_folder = begun.folder if begun else teacher_folder
    tokenizer = TextTokenizer.open(tokenizer_folder, config.max_length)
    plan = layer_plan(terms, config, spec)
    if plan:
        refuse_other_tokens(source.encoder.tokenizer, tokenizer, terms)
    encoder = begun.encoder if begun else student.initial(config, source.encoder.model)
    targets = _learn_from(run, source, teacher_folder, encoder, tokenizer, plan, begun)
    heads = TorchHeads(encoder.spec.embedding_size, run.taxonomy)
    if begun:
        warm_start.load_heads(heads, begun, run.taxonomy)
    model = SentenceClassifier(encoder, heads, spec.hidden_size if plan.teacher.hidden else None)
    train_classifier(run, model, tokenizer, terms, config.training, workspace, targets)
    origin: dict[str, Any] = {"parent": {"name": "teacher", "digest": source.digest}, "recipe": identity}
    if begun:
        origin["started_from"] = {"name": begun.folder.name, "digest": begun.digest}
    return distributed.by_first(lambda: finish(run, folder, model, torch.float32, tokenizer, tokenizer_folder, origin))


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


def _learn_from(
    run: Run,
    source: Teacher,
    teacher_folder: Path,
    encoder: SentenceEncoder,
    tokenizer: TextTokenizer,
    plan: LayerPlan,
    begun: warm_start.Start | None,
) -> dict[str, TeacherTargets]:
    """What the teacher says of every split, where a loss term asks; fits a new projection of the student, in place."""
    settings, terms = run.experiment.targets, run.experiment.losses.terms()
    distilling = not terms.keys().isdisjoint((*SENTENCE_TERMS, *TOKEN_TERMS))
    new_projection = begun.new_projection if begun else encoder.projection is not None
    if begun and distilling:
        warm_start.refuse_useless(begun, source, terms.keys())
    if not (distilling or new_projection):
        return {}
    cache = cache_targets(source, run.texts, settings.cache_dir, (), settings.tokens_per_batch)
    if new_projection or not begun:
        # What an earlier stage left may agree with its teacher; a fresh student that does has nothing to learn.
        _start_from_teacher(run, encoder, tokenizer, cache, new_projection, compare=distilling and not begun)
    if not distilling:
        return {}
    raw = checkpoint.load_classifier(teacher_folder, manifest.read(teacher_folder).fields).heads
    hidden = hidden_cache(source, run.texts, plan, encoder.spec.attention_heads, settings) if plan else None
    texts = {name: rows.texts for name, rows in run.corpus.splits.items()}
    return split_targets(texts, cache, raw, source, plan, hidden)


def _start_from_teacher(
    run: Run,
    encoder: SentenceEncoder,
    tokenizer: TextTokenizer,
    cache: TargetCache,
    new_projection: bool,
    compare: bool,
) -> None:
    """Refuses, where asked to compare, a student that equals its teacher; fits the new projection, in place."""
    projection, encoder.projection = encoder.projection, None
    texts = run.corpus.splits["train"].texts[:PROJECTION_TEXTS]
    pooled = TorchEncoder(encoder, tokenizer).encode(texts)
    encoder.projection = projection
    wanted = cache.embeddings(texts)
    if compare:
        student.refuse_if_same(pooled[:AGREEMENT_TEXTS], wanted[:AGREEMENT_TEXTS])
    if new_projection:
        student.fit_projection(encoder, pooled, wanted)
