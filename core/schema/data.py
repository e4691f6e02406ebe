"""Where the labelled texts come from and what happens to rows that are wrong."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from core.schema.base import Count, NamedPath, Rate, Section


class Source(Section):
    """Where rows come from: exactly one of `path` and `hub`. A plain string is short for `path`."""

    path: NamedPath | None = None
    """A .jsonl, .csv or .parquet file, or a folder of them. Relative to the working directory."""
    hub: str | None = None
    """The name of a data set on the Hugging Face hub, read with `datasets`."""
    subset: str | None = None
    """The hub data set's configuration name."""
    split: str | None = None
    """The hub data set's split (`train`, `test`, …); needed with `hub`."""

    @model_validator(mode="after")
    def _one_origin(self) -> Source:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give exactly one of `path` and `hub`")
        if self.hub is not None and self.split is None:
            raise ValueError("`hub` needs `split`, for example `split: train`")
        if self.path is not None and not self.path.exists():
            raise ValueError(f"no such file or folder: {self.path}")
        return self


def _as_source(value: object) -> object:
    return {"path": value} if isinstance(value, str) else value


SourceLike = Annotated[Source, BeforeValidator(_as_source)]
SetName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
TAKEN = ("train", "validation", "test", "pool", "unlabelled")


class Columns(Section):
    """The names of the columns in the data."""

    text: str = "text"
    """The text to classify."""
    label: str = "label"
    """1 or true: attack; 0 or false: benign; anything else goes through `data.label_map`."""
    family: str = "family"
    """The attack family; benign rows carry their own (for example BENIGN)."""
    subfamily: str = "subfamily"
    """The attack technique; benign rows carry their own (for example benign)."""
    group: str | None = None
    """Rows with the same value never stand in two splits (near-duplicate cluster, template); null: each row alone."""
    source: str | None = None
    """Where a row came from; null: the file's name."""
    source_until: Annotated[str, Field(min_length=1)] | None = None
    """A source's name is cut where this text first stands in it (`:` makes owner/name:path one source owner/name)."""


class Data(Section):
    """The labelled texts: the shipped synthetic corpus, one pool to split, or three given splits; sets beside them."""

    synthetic: bool = False
    """Use the corpus that the project generates; every report on it is stamped synthetic."""
    pool: tuple[SourceLike, ...] = ()
    """Rows to split here, by group, with `validation_share` and `test_share`."""
    train: tuple[SourceLike, ...] = ()
    """Training rows; goes with `validation` (and `test`)."""
    validation: tuple[SourceLike, ...] = ()
    """Rows that choose the threshold, the calibration and the best checkpoint."""
    test: tuple[SourceLike, ...] = ()
    """Rows for the final measurement; no command reads them without `evaluation.split=test`."""
    extra: Annotated[dict[SetName, Annotated[tuple[SourceLike, ...], Field(min_length=1)]], Field(default_factory=dict)]
    """Further sets to judge on (of other origins), `name: [source, …]`; read only where `evaluation.split` says."""
    unlabelled: tuple[SourceLike, ...] = ()
    """Texts beside the training rows that the teacher alone judges: distillation and `distill.mine` use them."""
    validation_share: Rate = 0.2
    """Share of the groups that become validation where the pool is split here, 0 to 1."""
    test_share: Rate = 0.2
    """Share of the groups that become test where the pool is split here, 0 to 1."""
    columns: Columns = Columns()
    """Column names."""
    label_map: Annotated[dict[str, Literal[0, 1]], Field(default_factory=dict)]
    """Raw label value to 0 (benign) or 1 (attack), for labels that are words."""
    max_characters: Count = 100_000
    """A longer text counts as over-long, in characters."""
    on_bad_row: Literal["refuse", "drop"] = "refuse"
    """What happens to rows that are not UTF-8, broken, empty, over-long or without a label."""
    on_conflict: Literal["refuse", "drop"] = "refuse"
    """What happens to a text that occurs with two labels, families or sub-families (drop: all its rows)."""
    on_leak: Literal["refuse", "drop"] = "refuse"
    """What happens to a text or group in two splits (drop: it stays in train, else validation, else test)."""
    max_rows: Count | None = None
    """At most so many rows a split, drawn with the seed and stratified by sub-family; null: all."""

    @field_validator("extra")
    @classmethod
    def _names_of_their_own(cls, extra: dict[str, tuple[Source, ...]]) -> dict[str, tuple[Source, ...]]:
        if taken := [name for name in extra if name.lower() in TAKEN]:
            raise ValueError(f"`{taken[0]}` already means other rows: call the set something else")
        return extra

    @property
    def gives_training(self) -> bool:
        """Whether there are rows that models are trained on."""
        return self.synthetic or bool(self.pool or self.train)

    @model_validator(mode="after")
    def _one_way(self) -> Data:
        ways = [self.synthetic, bool(self.pool), bool(self.train or self.validation or self.test)]
        if sum(ways) != 1:
            raise ValueError("give exactly one of `synthetic: true`, `pool`, or `train` with `validation`")
        if self.train and not self.validation:
            raise ValueError("`train` needs `validation`: thresholds and early stopping come from it")
        if self.unlabelled and not self.gives_training:
            raise ValueError("`unlabelled` texts stand beside training rows: give `train` with `validation`, or `pool`")
        if self.validation_share + self.test_share >= 1.0:
            raise ValueError("validation_share + test_share must stay below 1: nothing is left to train on")
        return self
