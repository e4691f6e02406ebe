"""The table of options: which checkpoints stand in it, how each is built, and what was expected of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from core.schema.base import NamedPath, Section


def _ends(value: object) -> object:
    """A number as a range of one end; a tuple, since strict validation behind a function takes no list for one."""
    return tuple(value) if isinstance(value, list) else (value,)


Expected = Annotated[
    tuple[Annotated[float, Field(gt=0.0)], ...],
    Field(min_length=1, max_length=2),
    BeforeValidator(_ends, json_schema_input_type=float | list[float]),
]
"""One number, or the two ends of a range."""


class Estimate(Section):
    """What a document expected of an option."""

    source: Annotated[str, Field(min_length=1)]
    """The document and its section."""
    model_size_mb: Expected | None = None
    """MB of all files; a number or a range [low, high], as below."""
    heads_mb: Expected | None = None
    """MB of the three classifiers among them."""
    mean_ms: Expected | None = None
    """Mean of a call, milliseconds."""
    p95_ms: Expected | None = None
    """95th percentile of a call, milliseconds."""
    binary_f1: Expected | None = None
    """F1 of attack against benign."""
    false_positive_rate: Expected | None = None
    """Share of benign texts flagged."""

    @model_validator(mode="after")
    def _in_order(self) -> Estimate:
        for name, ends in self:
            if name != "source" and ends and ends[0] > ends[-1]:
                raise ValueError(f"`{name}` goes from {ends[0]:g} down to {ends[-1]:g}: write the lower end first")
        return self


class Option(Section):
    """One row: a checkpoint, and where it comes from."""

    name: Annotated[str, Field(min_length=1)]
    """The option in the roadmap's words."""
    checkpoint: NamedPath
    """The folder that is judged; a row whose folder is missing is listed with its commands."""
    build: Annotated[tuple[str, ...], Field(min_length=1)]
    """The commands that make it, in order, from the repository root; those before them made what they read."""
    stand_in: str | None = None
    """What the row lacked and what stood in for it; null: it is what its name says."""
    estimates: tuple[Estimate, ...] = ()
    """What was expected of it."""

    @property
    def key(self) -> str:
        """What its report is called: the folder's name behind its parent's."""
        return f"{self.checkpoint.parent.name}-{self.checkpoint.name}".strip("-")


class Options(Section):
    """The rows that `eval.options` judges on the same texts."""

    reference: str | None = None
    """The name of the row that the others are compared with, text by text; null: none."""
    rows: tuple[Option, ...] = ()
    """The rows, in the table's order."""

    @model_validator(mode="after")
    def _told_apart(self) -> Options:
        names = [row.name for row in self.rows]
        for values, what in ((names, "name"), ([row.key for row in self.rows], "end of `checkpoint`")):
            if twice := next((value for index, value in enumerate(values) if value in values[:index]), None):
                raise ValueError(f'two of `options.rows` have the {what} "{twice}": give each its own')
        if self.reference is not None and self.reference not in names:
            raise ValueError(f'`options.reference` is "{self.reference}", the name of no row: take one of them')
        return self
