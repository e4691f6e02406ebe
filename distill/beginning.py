"""The student before its training: its first weights, its tokenizer, and the layers it is compared by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from core.model import EncoderSpec, SentenceEncoder
from core.schema import student as schema
from core.schema.losses import TOKEN_TERMS, Losses
from core.tokenizer import TextTokenizer
from distill import distributed, layer_search, origins, student, token_weights, vocabulary, warm_start
from distill.encoder_teacher import EncoderTeacher
from distill.ensemble_teacher import EnsembleTeacher
from distill.experiment_run import Run
from distill.layer_maps import layer_plan
from distill.minilm import minilm_encoder
from distill.split_targets import refuse_other_tokens, refuse_shorter_reading
from distill.token_states import NO_PLAN, LayerPlan, Layers


@dataclass(frozen=True)
class Begun:
    """The student before its training, and whose tokenizer it speaks."""

    encoder: SentenceEncoder
    tokenizer: TextTokenizer
    tokenizer_folder: Path
    start: warm_start.Start | None


def begin(
    run: Run,
    source: EncoderTeacher | EnsembleTeacher | None,
    teacher_folder: Path | None,
    start: warm_start.Start | None,
    width: int | None,
    workspace: Path,
) -> Begun:
    """The student's first weights, and its tokenizer: the checkpoint's, the teacher's, else MiniLM's as MPNet's."""
    config = run.experiment.student
    alone = isinstance(source, EncoderTeacher)  # an ensemble has no layers and no one tokenizer
    if start:
        tokenizer_folder, encoder = start.folder, start.encoder
    else:
        if not alone and config.init == "teacher":
            raise UserError("student.init=teacher copies layers, which an ensemble does not have: use minilm or random")
        base = source.encoder.model if isinstance(source, EncoderTeacher) else minilm_encoder()
        built = distributed.in_turn(lambda: origins.minilm_tokenizer(workspace))
        tokenizer_folder = teacher_folder if alone and teacher_folder else built
        reader, judged = TextTokenizer.open(tokenizer_folder, config.max_length), run.corpus.splits["validation"].texts
        config = distributed.by_first(lambda: layer_search.named(config, base, reader, judged, run.experiment.seed))
        encoder = student.initial(config, base, width)
    if size := config.vocabulary_size:  # for a checkpoint too
        cut = distributed.by_first(lambda: vocabulary.cut(tokenizer_folder, run.learnt, size, workspace / "vocabulary"))
        tokenizer_folder, encoder = cut.folder, vocabulary.slice_embeddings(encoder, cut.kept_ids)
    tokenizer = TextTokenizer.open(tokenizer_folder, config.max_length)
    if config.excerpt and encoder.reading is None:
        encoder = _reading_excerpts(run, config.excerpt, encoder, tokenizer)
    return Begun(encoder, tokenizer, tokenizer_folder, start)


def _reading_excerpts(
    run: Run, asked: schema.Excerpt, encoder: SentenceEncoder, tokenizer: TextTokenizer
) -> SentenceEncoder:
    """The encoder with token weights learned from the labelled rows."""
    rows = run.corpus.splits["train"]

    def learn() -> NDArray[np.uint8]:
        return token_weights.learn(tokenizer.encode(rows.texts), rows.labels, encoder.spec.vocabulary_size)

    return token_weights.give(encoder, asked.spec, distributed.by_first(learn))


def plan(run: Run, source: EncoderTeacher | EnsembleTeacher | None, begun: Begun) -> LayerPlan:
    """Whose layers are compared; UserError where the teacher has none or reads other tokens."""
    terms = run.experiment.losses
    if not isinstance(source, EncoderTeacher):
        if source and (by_token := [name for name in TOKEN_TERMS if name in terms.terms()]):
            raise UserError(f"losses.{by_token[0]} compares layers, which an ensemble does not have: set it to 0")
        return NO_PLAN
    found = layer_plan(terms, run.experiment.student, source.encoder.model.spec)
    if found:
        refuse_other_tokens(source.encoder.tokenizer, begun.tokenizer, terms)
        reads = begun.encoder.spec.excerpt.tokens if begun.encoder.spec.excerpt else begun.tokenizer.max_length
        refuse_shorter_reading(source.encoder.model.spec, reads, terms)
        refuse_cut_heads("student", begun.encoder.spec, found.student, terms)
        refuse_cut_heads("teacher", source.encoder.model.spec, found.teacher, terms)
    return found


def refuse_cut_heads(whose: str, spec: EncoderSpec, layers: Layers, terms: Losses) -> None:
    """UserError where heads were cut off so that what is left of them cannot be compared."""
    counts = [len(spec.heads_of(number)) for number in layers.attention]
    if len({*counts}) > 1:
        raise UserError(
            f"losses.attention_kl and losses.attention_mse compare layers of equally many heads, and the {whose}'s have"
            f" {', '.join(map(str, counts))}: set them to 0, or compare others (losses.layer_map: pairs)"
        )
    for number in layers.relations:
        width = len(spec.heads_of(number)) * spec.size_of_head
        if width % terms.relation_heads:
            raise UserError(
                f"losses.relation_heads {terms.relation_heads} must divide {width}, what is left of the {whose}'s heads"
                f" in layer {number}: choose another number, or set losses.relations to 0"
            )
