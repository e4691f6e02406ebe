"""What the student is to learn of the teacher, and the projection that brings it near before the first step."""

from __future__ import annotations

from pathlib import Path

from core import checkpoint, manifest
from core.errors import UserError
from core.model import SentenceEncoder
from core.schema.losses import SENTENCE_TERMS, TOKEN_TERMS
from core.tokenizer import TextTokenizer
from core.torch_encoder import TorchEncoder
from distill import student, warm_start
from distill.cache import TargetCache
from distill.encoder_teacher import EncoderTeacher
from distill.ensemble_teacher import EnsembleTeacher
from distill.experiment_run import Run
from distill.imitated import Imitated
from distill.split_targets import hidden_cache, split_targets
from distill.targets import cache_targets
from distill.token_states import LayerPlan
from distill.training_set import TeacherTargets

PROJECTION_TEXTS = 4096  # on which a new projection is fitted
AGREEMENT_TEXTS = 256  # on which student and teacher are compared before training


def learn_from(
    run: Run,
    source: EncoderTeacher | EnsembleTeacher,
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
    student = run.experiment.student
    if begun and distilling and not (student.fake_quantisation or student.sparsity):
        warm_start.refuse_teacher_itself(begun, source)  # with either, the student is no longer what it began as
    if not (distilling or new_projection):
        return {}
    cache = cache_targets(source, run.texts, settings.cache_dir, (), settings.tokens_per_batch)
    known = cache.embeddings(run.corpus.splits["train"].texts)
    imitated, share = Imitated.of(known, source.scores, settings.embedding_size)
    if settings.embedding_size:
        print(f"targets: {settings.embedding_size} principal components keep {share:.2%} of the teacher's embedding")
    refuse_unlike_widths(run, encoder, settings.embedding_size or source.embedding_size)
    if (new_projection or not begun) and source.embedding_size:
        # What an earlier stage left may agree with its teacher; a fresh student that does has nothing to learn.
        _start_from_teacher(run, encoder, tokenizer, cache, imitated, new_projection, distilling and not begun)
    if not distilling:
        return {}
    raw = checkpoint.load_classifier(teacher_folder, manifest.read(teacher_folder).fields).heads
    hidden = None
    if plan:
        assert isinstance(source, EncoderTeacher)
        heads, tokens = encoder.spec.attention_heads, tokenizer.max_length
        hidden = hidden_cache(source, run.texts, plan, heads, tokens, settings)
    texts = {"train": run.learnt, "validation": run.corpus.splits["validation"].texts}
    return split_targets(texts, cache, raw, imitated, source, plan, hidden)


def refuse_unlike_widths(run: Run, encoder: SentenceEncoder, theirs: int) -> None:
    """UserError where a loss term compares embeddings of two widths."""
    terms, mine = run.experiment.losses.terms(), encoder.spec.embedding_size
    if mine == theirs or {"embedding_cosine", "embedding_mse"}.isdisjoint(terms):
        return
    if not theirs:
        raise UserError(
            "the teacher is an ensemble of lexical members alone, which have no embedding to imitate: set"
            " losses.embedding_cosine=0 losses.embedding_mse=0 losses.similarity=0"
        )
    raise UserError(
        f"the student gives embeddings of {mine} dimensions, the teacher of {theirs}: set student.projection=true"
        f" or targets.embedding_size={mine}, or losses.embedding_cosine=0 losses.embedding_mse=0 (losses.similarity"
        " compares any two widths)"
    )


def _start_from_teacher(
    run: Run,
    encoder: SentenceEncoder,
    tokenizer: TextTokenizer,
    cache: TargetCache,
    imitated: Imitated,
    new_projection: bool,
    compare: bool,
) -> None:
    """Refuses, where asked to compare, a student that equals its teacher; fits the new projection, in place."""
    projection, encoder.projection = encoder.projection, None
    texts = run.corpus.splits["train"].texts[:PROJECTION_TEXTS]
    pooled = TorchEncoder(encoder, tokenizer).encode(texts)
    encoder.projection = projection
    wanted = imitated(cache.embeddings(texts))
    if compare:
        student.refuse_if_same(pooled[:AGREEMENT_TEXTS], wanted[:AGREEMENT_TEXTS])
    if new_projection:
        student.fit_projection(encoder, pooled, wanted)
