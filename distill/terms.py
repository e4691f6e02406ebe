"""The loss terms of one batch: which tensors of student, teacher and labels each is computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from core.rows import IGNORED
from core.schema import Losses
from distill import distributed, losses
from distill.classifier import ClassifierOutput, Logits
from distill.token_states import TokenStates

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """What the terms of one batch are computed from."""

    student: ClassifierOutput
    labels: Mapping[str, Tensor]  # binary, family, subfamily: (batch,) int64
    """`IGNORED` is a benign text's family and sub-family, and all three of a text without labels."""
    mask: Tensor  # (batch, tokens): 1 for real tokens
    embedding: Tensor | None = None  # the teacher's, (batch, dim)
    logits: Logits | None = None  # the teacher's
    tokens: TokenStates | None = None  # the teacher's
    class_weights: Mapping[str, Tensor] | None = None  # family, subfamily: (classes,)


def loss_term(name: str, config: Losses, batch: Batch) -> Tensor:
    """One term, unweighted, in FP32: half precision would lose a similarity's third digit."""
    with torch.autocast(batch.mask.device.type, enabled=False):
        match name:
            case "task":
                return _task(config, batch)
            case "contrastive":  # all benign texts carry `IGNORED` as their family: a class of its own
                known = batch.labels["binary"] != IGNORED
                embedding, classes = batch.student.embedding[known], batch.labels["family"][known]
                return losses.supervised_contrastive(embedding, classes, config.contrastive_temperature)
            case "embedding_cosine":
                return losses.embedding_cosine(batch.student.embedding, given(batch.embedding))
            case "embedding_mse":
                return losses.embedding_mse(batch.student.embedding, given(batch.embedding))
            case "similarity":
                return losses.similarity(batch.student.embedding, given(batch.embedding))
            case "logits_kd":
                return _logits_kd(config, batch)
        return _token_term(name, config, batch.student.tokens, given(batch.tokens), batch.mask)


def joined(batch: Batch, real: int) -> Batch:
    """The first `real` rows of all processes' batches as one, for terms of whole texts; gradients find their way back.

    What the teacher says is left out, as are token-level states.
    """
    logits = batch.student.logits
    parts = (batch.student.embedding, logits.binary[:, None], logits.family, logits.subfamily)
    together = distributed.join(torch.cat([part.float() for part in parts], 1))[:real]  # in one message
    embedding, binary, family, subfamily = together.split([part.shape[1] for part in parts], 1)
    student = ClassifierOutput(embedding, Logits(binary[:, 0], family, subfamily), TokenStates())
    labels = {name: distributed.join(label)[:real] for name, label in batch.labels.items()}
    return replace(batch, student=student, labels=labels, tokens=None)


def own_share(batch: Batch, real: int) -> tuple[Batch, Tensor]:
    """This process' rows among the first `real`, for token-level terms, and the factor of their mean over tokens.

    The mean over processes of factor times mean is the mean over the tokens of all: processes hold unlike numbers.
    """
    rows = len(batch.mask)
    mine = min(max(real - distributed.rank() * rows, 0), rows)
    counts = distributed.join(batch.mask[:mine].sum()[None].float())  # (processes,)
    share = counts[distributed.rank()] / counts.mean()
    kept = max(mine, 1)  # with none of its own a process still takes part, with a factor of 0
    student = replace(batch.student, tokens=first_rows(batch.student.tokens, kept))
    tokens = first_rows(batch.tokens, kept) if batch.tokens else None
    return replace(batch, student=student, tokens=tokens, mask=batch.mask[:kept]), share


def first_rows(states: TokenStates, rows: int) -> TokenStates:
    """The states of a batch's first texts."""
    parts = states.projections
    return TokenStates(
        hidden=None if states.hidden is None else states.hidden[:, :rows],
        scores=None if states.scores is None else states.scores[:, :rows],
        projections=parts and type(parts)(*(part[:rows] for part in vars(parts).values())),
    )


def given(value: T | None) -> T:
    """A value that the stages provide wherever a term with a weight needs it."""
    assert value is not None
    return value


def _shares(config: Losses) -> dict[str, float]:
    return {"binary": 1.0, "family": config.family_weight, "subfamily": config.subfamily_weight}


def _task(config: Losses, batch: Batch) -> Tensor:
    """Cross-entropy of the three heads; rare families and sub-families raised as `class_weighting` says."""
    logits = batch.student.logits
    scores = {"binary": losses.two_class(logits.binary), "family": logits.family, "subfamily": logits.subfamily}
    parts = []
    for head, share in _shares(config).items():
        target = batch.labels[head]
        match "none" if head == "binary" else config.class_weighting:
            case "balanced":
                value = losses.cross_entropy(scores[head], target, given(batch.class_weights)[head])
            case "focal":
                value = losses.focal(scores[head], target, config.focal_gamma)
            case _:
                value = losses.cross_entropy(scores[head], target)
        parts.append(share * value)
    return torch.stack(parts).sum()


def _logits_kd(config: Losses, batch: Batch) -> Tensor:
    """The teacher's softened logits of the three heads."""
    logits, known = batch.student.logits, given(batch.logits)
    attacks = batch.labels["family"] != IGNORED  # the teacher's family of a benign text, or of an unknown one, is noise
    pairs = {
        "binary": (losses.two_class(logits.binary), losses.two_class(known.binary)),
        "family": (logits.family[attacks], known.family[attacks]),
        "subfamily": (logits.subfamily[attacks], known.subfamily[attacks]),
    }
    parts = [share * losses.logits_kd(*pairs[head], config.temperature) for head, share in _shares(config).items()]
    return torch.stack(parts).sum()


def _token_term(name: str, config: Losses, student: TokenStates, teacher: TokenStates, mask: Tensor) -> Tensor:
    match name:
        case "hidden_mse":
            return losses.hidden_mse(given(student.hidden).float(), given(teacher.hidden).float(), mask)
        case "attention_kl":
            return losses.attention_kl(given(student.scores), given(teacher.scores), mask)
        case "attention_mse":
            return losses.attention_mse(given(student.scores), given(teacher.scores), mask)
        case "relations":  # the paper's equal weights for queries, keys and values
            mine, theirs = given(student.projections), given(teacher.projections)
            both = ((mine.query, theirs.query), (mine.key, theirs.key), (mine.value, theirs.value))
            return torch.stack([losses.relations(*pair, mask, config.relation_heads) for pair in both]).mean()
    raise ValueError(f"no loss term is called {name}")
