"""Hard negatives: texts that a student flags against its teacher."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from core.schema.base import Count, NamedPath, Rate, Section
from core.schema.data import SourceLike


class Mining(Section):
    """Which texts are looked through, and which of them count as hard negatives."""

    teacher: NamedPath | None = None
    """The checkpoint or serving folder whose word counts: the teacher that the student learnt from, or a better one."""
    texts: tuple[SourceLike, ...] = ()
    """Where the texts come from, `[source, …]`, read as `data.unlabelled` is; empty: `data.unlabelled` itself."""
    student_threshold: Rate = 0.5
    """The student flags a text at this served attack probability, 0 to 1; 0.5 is its operating point."""
    teacher_below: Annotated[float, Field(gt=0.0, le=0.5)] = 0.2
    """The teacher calls a text clearly benign below this served attack probability, 0 to its operating point 0.5."""
    max_attack_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.9
    """A source with a larger share of attacks among its training rows gives no hard negative, 0 to 1 (1: all may)."""
    max_texts: Count | None = None
    """At most so many texts are written, those that the student is surest of; null: all that are found."""
