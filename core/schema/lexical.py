"""The lexical baseline: which n-grams of a text TF-IDF counts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from core.schema.base import Count, Section

Lengths = Annotated[tuple[Count, ...], Field(min_length=2, max_length=2)]


class Lexical(Section):
    """TF-IDF over words and characters; the heads on it are logistic regressions."""

    word_ngrams: Lengths | None = (1, 2)
    """Shortest and longest run of words that counts as one term; null: no words."""
    character_ngrams: Lengths | None = (3, 5)
    """Shortest and longest run of characters, within a word and the spaces around it; null: no characters."""
    word_features: Count = 30_000
    """At most so many runs of words are known, the most frequent of the training texts."""
    character_features: Count = 60_000
    """At most so many runs of characters are known, the most frequent of the training texts."""
    min_texts: Count = 2
    """A term that stands in fewer training texts is not known."""
    max_characters: Count = 4000
    """Characters of a text that are read, from its beginning; stored with the checkpoint and served."""
    sublinear: bool = True
    """Count a term that stands n times as 1 + ln n, not as n."""

    @model_validator(mode="after")
    def _consistent(self) -> Lexical:
        if self.word_ngrams is None and self.character_ngrams is None:
            raise ValueError("`word_ngrams` and `character_ngrams` are both null: give at least one of them")
        for name in ("word_ngrams", "character_ngrams"):
            lengths = getattr(self, name)
            if lengths is not None and lengths[0] > lengths[1]:
                raise ValueError(f"`{name}` is {list(lengths)}: the shortest comes first, then the longest")
        return self
