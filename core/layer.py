"""What may decide before a model does: the first layer's keywords, or a smaller model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from core.decode.view import View
from core.heads import HeadScores
from core.serving import Decode


class Layer(Protocol):
    """It is sure of some texts and leaves the others."""

    def judge(self, text: str) -> HeadScores | None:
        """Scores of one text (one row), or None where it is not sure."""
        ...

    def use_threads(self, threads: int) -> None:
        """How many threads one call may use."""
        ...

    def judge_all(self, texts: Sequence[str]) -> list[HeadScores | None]:
        """The same for many texts."""
        ...


def without_encoded(verdict: HeadScores | None, view: View | None, decode: Decode | None) -> HeadScores | None:
    """The verdict where it may stand: what reads plain words calls no text benign that has a decoded view.

    Where the view is read `instead`, nor does it call one an attack, for the raw text is not what counts.
    """
    left = verdict and view and (decode == "instead" or verdict.attack[0] < 0.5)
    return None if left else verdict
