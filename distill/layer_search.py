"""Which teacher layers a student starts from: those without which validation texts look most unlike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from core.errors import UserError
from core.layer_subsets import batches_by_length, without_each
from core.model import SentenceEncoder
from core.schema import Student
from core.tokenizer import TextTokenizer
from distill.student import agreement, refuse_other_shape, uniform_layers

TEXTS = 256  # whose similarities are compared


@dataclass(frozen=True)
class Step:
    """One layer less."""

    dropped: int
    kept: tuple[int, ...]
    """Layers of the teacher, from 0."""
    agreement: float
    """Of what is kept with the whole teacher, see `distill.student.agreement`."""


def named(
    config: Student, teacher: SentenceEncoder, tokenizer: TextTokenizer, texts: Sequence[str], seed: int
) -> Student:
    """`config` with the layers that a search on `texts`, of validation, names; unchanged where it asks for none.

    tokenizer: the teacher's, at the student's length. Prints every step. Raises UserError where the teacher's shape
    does not allow `student.init=teacher`.
    """
    if config.teacher_layers != "search":
        return config
    refuse_other_shape(config, teacher.spec)
    kept = uniform_layers(config.layers, teacher.spec.layers)  # the answer where there is nothing to leave out
    if config.layers < teacher.spec.layers:
        for step in eliminate(teacher, tokenizer.encode(sample(texts, seed)), config.layers):
            kept = step.kept
            print(describe(step), flush=True)
    return config.model_copy(update={"teacher_layers": kept})


def sample(texts: Sequence[str], seed: int) -> list[str]:
    """At most `TEXTS` of the texts; UserError where they are too few to have unlike similarities."""
    if len(texts) < 3:
        raise UserError(
            f"student.teacher_layers=search compares validation texts with each other and there are only {len(texts)}:"
            " give more, or name the layers"
        )
    chosen = np.random.default_rng(seed).permutation(len(texts))[:TEXTS]
    return [texts[index] for index in chosen]


def describe(step: Step) -> str:
    kept = " ".join(map(str, step.kept))
    return f"layer search: without layer {step.dropped} the similarities agree to {step.agreement:.4f}; left: {kept}"


def eliminate(teacher: SentenceEncoder, ids: Sequence[Sequence[int]], layers: int) -> Iterator[Step]:
    """Leaves out one layer after the other, each time that which the similarities of the texts miss least.

    Layers can be left out of a fine-tuned encoder and the rest trained on, as Sajjad et al. 2020 (arXiv 2004.03844)
    show with fixed choices; choosing greedily is Peer et al. 2022, "Greedy-layer pruning" (Pattern Recognition Letters
    157, arXiv 2105.14839). These measure the task; here it is agreement with the whole teacher, which needs neither
    training nor labels. Of equally good layers the lowest goes.

    ids: of the texts, as `teacher` reads them; layers: how many are to stay, at least 1.
    """
    batches, _ = batches_by_length(teacher, ids)
    with torch.inference_mode():
        parts = [teacher(input_ids, mask).sentence_embedding for input_ids, mask in batches]
    whole = torch.cat(parts).float().cpu().numpy()
    kept = tuple(range(teacher.spec.layers))
    while len(kept) > layers:
        scores = [agreement(embeddings, whole) for embeddings in without_each(teacher, kept, batches)]
        place = int(np.argmax(np.nan_to_num(scores, nan=-1.0)))  # NaN: all texts became the same
        dropped, kept = kept[place], (*kept[:place], *kept[place + 1 :])
        yield Step(dropped, kept, scores[place])
