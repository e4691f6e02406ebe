"""What is timed: texts of an experiment, and its teacher and student before any training, as folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from core import manifest
from core.data import load
from core.encoder_config import foreign
from core.errors import UserError
from core.folders import new_folder
from core.model import SentenceEncoder
from core.pretrained import write_encoder
from core.rows import Rows
from core.schema import Experiment, Student
from distill import origins, student


@dataclass(frozen=True)
class Subjects:
    """Everything that a side needs to begin with."""

    rows: Rows
    """Distinct texts."""
    teacher: Path
    """A checkpoint folder without heads."""
    student: Path
    """The same."""


def rows_of(experiment: Experiment, texts: int) -> Rows:
    """So many training rows, drawn with every sub-family's share kept; all of them where there are fewer."""
    data = experiment.data.model_copy(update={"max_rows": texts})
    return load(data, experiment.seed, splits=("train",)).splits["train"]


def make(experiment: Experiment, texts: int, folder: Path) -> Subjects:
    """Draws the texts and writes both models below `folder`; how fast a model runs does not depend on what it learnt.

    The student has its whole vocabulary. UserError: what sentence-transformers cannot load, and a student that only
    training would make.
    """
    _refuse(experiment.student)
    rows = rows_of(experiment, texts)
    config = experiment.teacher
    encoder, tokenizer_folder = origins.initial(config, rows.texts, folder, experiment.seed)
    if what := foreign(encoder.spec):
        raise UserError(
            f"teacher.name_or_path {config.name_or_path} {what}, so sentence-transformers cannot open it to compare"
            " with: give a plain MPNet of the same shape"
        )
    torch.manual_seed(experiment.seed)
    young = student.initial(experiment.student, encoder)
    stored = torch.float16 if config.dtype == "auto" else getattr(torch, config.dtype)
    teacher = _written(folder / "teacher", encoder.to(stored), config.max_length, tokenizer_folder)
    pupil = _written(folder / "student", young, experiment.student.max_length, tokenizer_folder)
    return Subjects(rows, teacher, pupil)


def _refuse(config: Student) -> None:
    """UserError for a student that cannot be made here, or not be compared."""
    faults = {
        f"sentence-transformers knows no {config.architecture} encoder: set student.architecture=mpnet":
            config.architecture != "mpnet",
        "sentence-transformers reads no excerpts: set student.excerpt=null and student.max_length to their tokens":
            config.excerpt is not None,
        "weights of a checkpoint are not faster than others: set student.init=random student.name_or_path=null":
            config.init == "checkpoint",
        "searched layers are not faster than others: set student.teacher_layers=null":
            config.teacher_layers == "search",
    }  # fmt: skip
    if found := [sentence for sentence, wrong in faults.items() if wrong]:
        raise UserError(f"this student cannot be timed beside theirs: {'; '.join(found)}")


def _written(folder: Path, encoder: SentenceEncoder, max_length: int, tokenizer_folder: Path) -> Path:
    with new_folder(folder) as temporary:
        write_encoder(temporary, encoder, max_length, tokenizer_folder)
        basis = {"name": folder.name, "version": "0", "status": "untrained", "kind": "torch"}
        manifest.write(temporary, basis | {"embedding_dim": encoder.spec.embedding_size, "max_length": max_length})
    return folder


def quiet() -> None:
    """Silences what transformers says of models that were never trained, which nobody here expects to be useful."""
    from transformers.utils import logging

    logging.set_verbosity_error()
