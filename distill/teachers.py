"""Who teaches: one PyTorch checkpoint, or an ensemble of unlike ones, behind the same few questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from core import manifest
from core.errors import UserError
from distill.cache import Outputs
from distill.encoder_teacher import EncoderTeacher
from distill.ensemble_teacher import EnsembleTeacher


class Teacher(Protocol):
    """What caching its targets asks of a teacher."""

    @property
    def digest(self) -> str:
        """Identity of the folder's content."""
        ...

    @property
    def scores(self) -> int:
        """How many leading columns of its output are no part of the embedding that a student imitates."""
        ...

    @property
    def embedding_size(self) -> int:
        """Width of that embedding; 0: it has none."""
        ...

    def key(self, layers: Sequence[int]) -> str:
        """What makes a target, beside the text; `layers`: of the hidden states kept."""
        ...

    def sizes(self, texts: Sequence[str]) -> list[int]:
        """How much work each text is."""
        ...

    def outputs(
        self, texts: Sequence[str], layers: Sequence[int], budget: int, done: Callable[[int], object]
    ) -> Outputs:
        """`embedding` (texts, dim), what the heads read; with `layers` hidden states too.

        budget: padded tokens of one batch; done: is told of the work as it gets done, in `sizes`.
        """
        ...


def open_teacher(folder: Path) -> EncoderTeacher | EnsembleTeacher:
    """Verifies the folder and opens it; UserError where such a checkpoint teaches only inside an ensemble."""
    verified = manifest.read(folder)
    match verified.kind:
        case "torch":
            return EncoderTeacher.open(folder)
        case "ensemble":
            return EnsembleTeacher.open(folder)
        case kind:
            raise UserError(
                f"{folder} is a checkpoint of kind {kind}, which teaches only as a member of an ensemble: write one of"
                f" it with python -m distill.ensemble … ensemble.members=[{folder}]"
            )
