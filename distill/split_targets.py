"""What the teacher says of each split: sentence-level targets from the cache, token-level ones cached or live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from core.errors import UserError
from core.heads import LinearHead
from core.schema import Losses, Targets
from core.schema.losses import TOKEN_TERMS
from core.spec import EncoderSpec
from core.tokenizer import TextTokenizer
from distill.cache import TargetCache
from distill.classifier import Logits
from distill.encoder_teacher import EncoderTeacher
from distill.imitated import Imitated
from distill.targets import cache_targets, cached_states, hidden_megabytes, live_states
from distill.teachers import Teacher
from distill.token_states import LayerPlan
from distill.training_set import TeacherTargets, TokenSource


def sentence_targets(
    texts: Sequence[str], name: str, cache: TargetCache, heads: Mapping[str, LinearHead], imitated: Imitated
) -> tuple[torch.Tensor, Logits]:
    """Embeddings (texts, dim) and head logits of the texts of split `name`; UserError where they are not finite."""
    outputs = cache.embeddings(texts)
    if not np.isfinite(outputs).all():
        raise UserError(f"the teacher gives NaN embeddings for {name} texts: set teacher.dtype=float32")
    scores = {part: torch.from_numpy(head.logits(outputs)) for part, head in heads.items()}
    logits = Logits(scores["binary"][:, 0], scores["family"], scores["subfamily"])
    return torch.from_numpy(imitated(outputs)), logits


def refuse_other_tokens(teacher: TextTokenizer, student: TextTokenizer, config: Losses) -> None:
    """Raises UserError where student and teacher do not see the same tokens, which token-level terms compare."""
    name = next(name for name in TOKEN_TERMS if name in config.terms())
    if teacher.max_length < student.max_length:  # a given teacher's own, whatever teacher.max_length says
        raise UserError(
            f"losses.{name} compares token by token, but the teacher was made for {teacher.max_length} tokens and"
            f" student.max_length is {student.max_length}: lower it to {teacher.max_length}, or take another teacher"
        )
    if teacher.hash() != student.hash():
        raise UserError(
            f"losses.{name} compares token by token, but student and teacher have unlike tokenizers: set its weight to"
            " 0, or start from a student that speaks the teacher's"
        )


def refuse_shorter_reading(teacher: EncoderSpec, tokens: int, config: Losses) -> None:
    """Raises UserError where the teacher's layers would see an excerpt of the up to `tokens` that the student's see."""
    if teacher.excerpt and teacher.excerpt.tokens < tokens:
        name = next(name for name in TOKEN_TERMS if name in config.terms())
        raise UserError(
            f"losses.{name} compares token by token, but the teacher's layers read excerpts of"
            f" {teacher.excerpt.tokens} tokens and the student's up to {tokens}: give the student such excerpts"
            " (student.excerpt), or set its weight to 0"
        )


def hidden_cache(
    source: EncoderTeacher,
    texts: Sequence[str],
    plan: LayerPlan,
    student_heads: int,
    student_tokens: int,
    settings: Targets,
) -> TargetCache | None:
    """Cached hidden states when these alone are asked for and fit the stated budget; None: the teacher runs live.

    Relations and attention maps grow with the square of a text's length, so they are never kept. Says what it chose.
    """
    if plan.teacher.attention:
        heads = source.encoder.model.spec.attention_heads
        if heads != student_heads:
            print(f"attention maps: averaged over the teacher's {heads} and the student's {student_heads} heads")
    if plan.teacher.attention or plan.teacher.relations:
        print("relations and attention maps are not cached: the teacher runs live in every step that needs them")
        return None
    made_for = source.encoder.tokenizer.max_length
    if made_for != student_tokens:
        print(f"the teacher was made for {made_for} tokens, the student reads {student_tokens}: it runs live on these")
        return None
    needed = hidden_megabytes(source, texts, plan.teacher.hidden)
    if needed > settings.disk_budget_mb:
        print(
            f"hidden states would take {needed:,.0f} MB, targets.disk_budget_mb is {settings.disk_budget_mb:,.0f}: live"
        )
        return None
    return cache_targets(source, texts, settings.cache_dir, plan.teacher.hidden, settings.tokens_per_batch)


def split_targets(
    splits: Mapping[str, Sequence[str]],
    cache: TargetCache,
    heads: Mapping[str, LinearHead],
    imitated: Imitated,
    source: Teacher,
    plan: LayerPlan,
    hidden: TargetCache | None,
) -> dict[str, TeacherTargets]:
    """What the teacher says of each split, whose texts `splits` holds."""
    targets = {}
    for name, texts in splits.items():
        tokens: TokenSource | None = None
        if plan:
            assert isinstance(source, EncoderTeacher)
            tokens = cached_states(hidden, texts) if hidden is not None else live_states(source)
        targets[name] = TeacherTargets(*sentence_targets(texts, name, cache, heads, imitated), tokens, plan)
    return targets
