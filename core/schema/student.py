"""The student: its shape, its first weights, and how it is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

import core.spec
from core.architectures import Architecture, attending
from core.schema.base import Count, NamedPath, Section
from core.schema.compression import FakeQuantisation, Sparsity
from core.schema.learning import Training

Numbered = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Tag("numbered")]
Searched = Annotated[Literal["search"], Tag("searched")]
# Told apart by hand, or a mistake would be reported once for each alternative.
TeacherLayers = Annotated[
    Numbered | Searched, Discriminator(lambda value: "searched" if isinstance(value, str) else "numbered")
]


class Excerpt(Section):
    """A long text's first tokens and the stretch that weighs most, by weights learned from the labelled texts."""

    tokens: Annotated[int, Field(ge=8, le=512)] = 64
    """Tokens that the layers read at most; `max_length` is how far the choice looks."""
    first: Count = 16
    """How many of them are the text's first."""

    @model_validator(mode="after")
    def _fits(self) -> Excerpt:
        if self.first > self.tokens - 2:
            raise ValueError(f"`first` {self.first} leaves no room in {self.tokens} tokens: at most {self.tokens - 2}")
        return self

    @property
    def spec(self) -> core.spec.Excerpt:
        """The same in the encoder's spec."""
        return core.spec.Excerpt(self.tokens, self.first)


class Student(Section):
    """The small encoder that is served."""

    architecture: Architecture = "mpnet"
    """What mixes the tokens; static: nothing, convolution: 7 neighbours, hybrid: convolution and attention in turn."""
    layers: Annotated[int, Field(ge=0, le=24)] = 6
    """Layers; 0 with `architecture: static`, which has none, and 2 or more with hybrid."""
    hidden_size: Annotated[int, Field(ge=8)] = 384
    """Width of the hidden states."""
    attention_heads: Count = 12
    """Attention heads a layer; must divide `hidden_size`. No effect where nothing attends (static, convolution)."""
    intermediate_size: Count = 1536
    """Width of the feed-forward layers. No effect with `architecture: static`."""
    init: Literal["minilm", "teacher", "random", "checkpoint"] = "minilm"
    """Starting weights: real MiniLM (6x384; unless mpnet its embeddings), teacher's layers, random, a checkpoint."""
    name_or_path: NamedPath | None = None
    """With `init: checkpoint`: one of our checkpoints, heads included, or an MPNet folder of `save_pretrained`."""
    teacher_layers: TeacherLayers | None = None
    """With `init: teacher`: which teacher layers, from 0; search: those that validation misses most; null: evenly."""
    vocabulary_size: Count | None = None
    """Tokens kept, with MPNet's 2000 to 30527: special ones, characters, the texts' commonest pieces; null: all."""
    projection: bool = True
    """Give the embedding the teacher's width by a linear map inside the graph; false: its own width."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Dropout in training; above 0 a step on a CPU takes half as long again."""
    max_length: Annotated[int, Field(ge=8, le=512)] = 128
    """Tokens of a text that the student sees; stored with the checkpoint and served."""
    excerpt: Excerpt | None = None
    """What the layers read of texts with more tokens; null: all `max_length` tokens."""
    sparsity: Sparsity | None = None
    """Zeros in the layers' matrices, set or kept while it is trained; null: none."""
    fake_quantisation: FakeQuantisation | None = None
    """Rounding that it is trained under (quantisation-aware training); null: none."""
    training: Training = Training()
    """How it is trained."""

    @model_validator(mode="after")
    def _consistent(self) -> Student:
        if attending(self.architecture, self.layers) and self.hidden_size % self.attention_heads:
            raise ValueError(f"attention_heads {self.attention_heads} does not divide hidden_size {self.hidden_size}")
        shape = (self.layers, self.hidden_size, self.attention_heads, self.intermediate_size)
        if self.architecture == "mpnet" and self.init == "minilm" and (shape[1:] != (384, 12, 1536) or self.layers > 6):
            raise ValueError(
                "`init: minilm` needs hidden_size 384, attention_heads 12, intermediate_size 1536, layers <= 6"
            )
        if (self.init == "checkpoint") != (self.name_or_path is not None):
            raise ValueError("`init: checkpoint` and `name_or_path` need each other: the weights and where they are")
        if self.teacher_layers is not None and self.init != "teacher":
            raise ValueError("`teacher_layers` has no effect without `init: teacher`")
        if isinstance(self.teacher_layers, tuple) and len(self.teacher_layers) != self.layers:
            raise ValueError(f"`teacher_layers` names {len(self.teacher_layers)} layers, `layers` says {self.layers}")
        if self.excerpt and self.excerpt.tokens >= self.max_length:
            raise ValueError(
                f"`excerpt.tokens` {self.excerpt.tokens} leaves nothing to choose from `max_length` {self.max_length}:"
                " let max_length be larger, up to 512"
            )
        if self.excerpt and self.architecture != "mpnet":
            raise ValueError(f"`excerpt` needs `architecture: mpnet`, not {self.architecture}")
        return self

    @model_validator(mode="after")
    def _architecture_fits(self) -> Student:
        kind, fewest = self.architecture, {"static": 0, "hybrid": 2}.get(self.architecture, 1)
        if kind == "static" and self.layers:
            raise ValueError("`architecture: static` is token embeddings without layers: write `layers: 0`")
        if kind == "static" and self.sparsity:
            raise ValueError("`sparsity` puts zeros into layers, and `architecture: static` has none: leave it out")
        if self.layers < fewest:
            raise ValueError(f"`architecture: {kind}` needs `layers` of at least {fewest}, not {self.layers}")
        if kind != "mpnet" and self.init == "teacher":
            raise ValueError(
                f"`init: teacher` copies MPNet layers, which `architecture: {kind}` does not have: use minilm or random"
            )
        if kind != "mpnet" and self.init == "minilm" and self.hidden_size != 384:
            raise ValueError(
                f"`init: minilm` gives token embeddings of 384, not {self.hidden_size}: use `init: random`"
            )
        return self
