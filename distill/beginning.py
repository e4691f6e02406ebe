"""The student before its training: its first weights, its tokenizer, and the layers it is compared by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError
from core.model import SentenceEncoder
from core.schema.losses import TOKEN_TERMS
from core.tokenizer import TextTokenizer
from distill import distributed, layer_search, origins, student, vocabulary, warm_start
from distill.experiment_run import Run
from distill.layer_maps import layer_plan
from distill.minilm import minilm_encoder
from distill.split_targets import refuse_other_tokens
from distill.teachers import EncoderTeacher, EnsembleTeacher
from distill.token_states import NO_PLAN, LayerPlan


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
    return Begun(encoder, TextTokenizer.open(tokenizer_folder, config.max_length), tokenizer_folder, start)


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
    return found
