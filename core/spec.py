"""The spec of an encoder: everything needed to rebuild it, whatever was cut off it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from core.architectures import Architecture

FIRST_POSITION = 2  # MPNet counts positions from padding_idx + 1, as RoBERTa does


@dataclass(frozen=True)
class Excerpt:
    """How long texts are shortened in front of the layers."""

    tokens: int
    """Tokens that the layers read at most, special ones included."""
    first: int
    """How many of them are the first of the text; then comes the stretch, and the last token closes."""

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.tokens - 2:
            raise ValueError(
                f"an excerpt of {self.tokens} tokens cannot hold the first {self.first}: `first` must be 1 to"
                f" {self.tokens - 2}, which leaves room for a stretch and the last token"
            )

    @property
    def stretch(self) -> int:
        """Tokens of the chosen stretch."""
        return self.tokens - self.first - 1


@dataclass(frozen=True)
class EncoderSpec:
    """Everything needed to rebuild an encoder; sizes in units, most named as in transformers' MPNetConfig."""

    layers: int
    hidden_size: int
    attention_heads: int
    """Heads that share out the relative-position bias; a layer may have lost some (`layer_heads`)."""
    intermediate_size: int
    """Width of the feed-forward part of a layer; where the layers differ, the widest."""
    vocabulary_size: int = 30527
    max_positions: int = 514
    relative_attention_buckets: int = 32
    layer_norm_eps: float = 1e-5
    dropout: float = 0.1
    projection: int | None = None
    """Width of the sentence embedding when a linear map follows the pooling; None: hidden_size."""
    architecture: Architecture = "mpnet"
    """What mixes the tokens; sizes that an architecture has no use for are kept and have no effect."""
    head_size: int | None = None
    """Width of one head where it is not hidden_size / attention_heads, as after the hidden width was cut."""
    layer_heads: tuple[tuple[int, ...], ...] | None = None
    """The heads that each layer has left, rising, by their column of the shared bias; None: every layer has all."""
    layer_intermediate_sizes: tuple[int, ...] | None = None
    """Feed-forward width of each layer where they differ; None: `intermediate_size` in all."""
    excerpt: Excerpt | None = None
    """What the layers read of a long text; None: all that the tokenizer leaves of it."""

    def __post_init__(self) -> None:
        if self.excerpt and self.architecture != "mpnet":
            raise ValueError(
                f"only an mpnet encoder reads excerpts, and this one's architecture is {self.architecture}"
            )
        if self.architecture == "static" and self.layers:
            raise ValueError(f"a static encoder has no layers, so `layers` is 0 and not {self.layers}")
        for name in ("layer_heads", "layer_intermediate_sizes"):
            given = getattr(self, name)
            if given is not None and len(given) != self.layers:
                raise ValueError(f"`{name}` is of {len(given)} layers, and there are {self.layers}")
        for heads in self.layer_heads or ():
            if not heads or list(heads) != sorted({*heads} & {*range(self.attention_heads)}):
                raise ValueError(
                    f"`layer_heads` gives a layer the heads {list(heads)}: one or more of 0 to"
                    f" {self.attention_heads - 1} are needed, rising"
                )
        if min(self.layer_intermediate_sizes or (1,)) < 1:
            raise ValueError("`layer_intermediate_sizes` gives a layer no neuron: each needs at least one")

    @property
    def embedding_size(self) -> int:
        return self.projection or self.hidden_size

    @property
    def size_of_head(self) -> int:
        return self.head_size or self.hidden_size // self.attention_heads

    @property
    def is_cut(self) -> bool:
        """Whether layers differ in shape or heads have a size of their own, as no MPNet of transformers' has."""
        return (self.head_size, self.layer_heads, self.layer_intermediate_sizes) != (None, None, None)

    def heads_of(self, number: int) -> tuple[int, ...]:
        """The heads of layer `number`, from 1, by their column of the shared bias."""
        return self.layer_heads[number - 1] if self.layer_heads else tuple(range(self.attention_heads))

    def intermediate_of(self, number: int) -> int:
        """Feed-forward width of layer `number`, from 1."""
        return self.layer_intermediate_sizes[number - 1] if self.layer_intermediate_sizes else self.intermediate_size

    def single(self, number: int) -> EncoderSpec:
        """The spec of an encoder whose only layer is this one's layer `number`, from 1."""
        return self.with_layers([self.heads_of(number)], [self.intermediate_of(number)])

    def with_layers(self, heads: list[tuple[int, ...]], intermediate_sizes: list[int]) -> EncoderSpec:
        """The same with these layers, written in the one shortest way, so that equal encoders have equal specs."""
        whole = all(len(one) == self.attention_heads for one in heads)
        even = len({*intermediate_sizes}) < 2
        return replace(
            self,
            layers=len(heads),
            layer_heads=None if whole else tuple(heads),
            intermediate_size=max(intermediate_sizes, default=self.intermediate_size),
            layer_intermediate_sizes=None if even else tuple(intermediate_sizes),
        )
