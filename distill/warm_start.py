"""A student that goes on from a checkpoint: the second stage of a recipe, or recovery after pruning."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from core import checkpoint, manifest
from core.errors import UserError
from core.model import SentenceEncoder, build
from core.pretrained import load_encoder, read_spec
from core.rows import Taxonomy
from core.schema import Student
from distill.classifier import TorchHeads
from distill.grow import widen_head
from distill.teachers import Teacher

SHAPE = ("architecture", "layers", "hidden_size", "attention_heads", "intermediate_size")


@dataclass(frozen=True)
class Start:
    """The student before this training."""

    folder: Path
    digest: str
    """Identity of the weights."""
    encoder: SentenceEncoder  # FP32
    new_projection: bool  # it has one that the checkpoint had not
    lineage: dict[str, Any]
    """Name, digest and ancestors, as `Manifest.lineage`."""


def verify(config: Student) -> Path:
    """The folder of `student.name_or_path`; UserError unless it holds an encoder of the shape that `student` gives."""
    folder = Path(str(config.name_or_path))
    if not folder.is_dir():
        raise UserError(f"student.name_or_path: {folder} is no folder; give a checkpoint or a save_pretrained folder")
    spec = read_spec(folder)
    unlike = [name for name in SHAPE if getattr(spec, name) != getattr(config, name)]
    if unlike:
        wanted = " ".join(f"student.{name}={getattr(spec, name)}" for name in unlike)
        raise UserError(f"{folder} holds a student of another shape than the configuration says: write {wanted}")
    if config.max_length > spec.max_positions - 2:
        raise UserError(
            f"student.max_length {config.max_length} is more than the {spec.max_positions - 2} positions of {folder}"
        )
    if spec.excerpt and spec.excerpt != (config.excerpt and config.excerpt.spec):
        raise UserError(
            f"{folder} reads excerpts of {spec.excerpt.tokens} tokens, the first {spec.excerpt.first} among them: write"
            f" student.excerpt.tokens={spec.excerpt.tokens} student.excerpt.first={spec.excerpt.first}"
        )
    if spec.projection and not config.projection:
        raise UserError(f"{folder} has a projection to {spec.projection} dimensions: write student.projection=true")
    return folder


def start(config: Student, teacher_width: int | None) -> Start:
    """The checkpoint's encoder with the dropout asked for, and a new projection to the teacher's width if it lacks one.

    One of our checkpoints is verified first; UserError where it is damaged.
    """
    folder = verify(config)
    ours = manifest.read(folder) if (folder / manifest.NAME).is_file() else None
    stored = load_encoder(folder, torch.float32)
    digest = ours.digest if ours else manifest.file_hash(folder / "model.safetensors")
    spec = replace(stored.spec, dropout=config.dropout)
    new_projection = config.projection and not spec.projection
    if new_projection and not teacher_width:
        raise UserError(
            f"{folder} has no projection, and no loss term asks for a teacher, whose width a new one would take:"
            " write student.projection=false"
        )
    encoder = build(replace(spec, projection=teacher_width) if new_projection else spec)
    encoder.load_state_dict(stored.state_dict(), strict=not new_projection)
    lineage = ours.lineage if ours else {"name": folder.name, "digest": digest}
    return Start(folder, digest, encoder, new_projection, lineage)


def refuse_teacher_itself(begun: Start, source: Teacher) -> None:
    """Raises UserError where a checkpoint is to learn from itself."""
    if begun.digest == source.digest:
        raise UserError(f"{begun.folder} is the teacher itself, so there is nothing to distil: give another of the two")


def load_heads(heads: TorchHeads, folder: Path, taxonomy: Taxonomy, *, new_embedding: bool = False) -> None:
    """The checkpoint's heads into `heads`, in place, where they are for the same classes and embedding; else a line.

    Of an encoder that was grown since, its embedding repeated, they are widened likewise.
    """
    if not (folder / manifest.NAME).is_file():
        return  # a plain encoder has none
    known = checkpoint.load_classifier(folder, manifest.read(folder).fields)
    if known.taxonomy.same_classes(taxonomy) and not new_embedding:
        heads.load_linear({name: widen_head(head, heads.binary.in_features) for name, head in known.heads.items()})
    else:
        what = "another embedding" if new_embedding else "other families or sub-families"
        print(f"{folder}: its heads are for {what}; new ones are trained")
