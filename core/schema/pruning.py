"""What is cut off a checkpoint: layers, heads, neurons, hidden width, and single weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from core.schema.base import Count, Section
from core.schema.compression import Sparsity

Removed = Annotated[int, Field(ge=0)]
Ratio = Annotated[float, Field(ge=0.0, lt=1.0)]
Spread = Literal["equal", "global"]


class PrunedLayers(Section):
    """Whole layers."""

    remove: Removed = 0
    """How many layers go; at least one must stay."""
    rule: Literal["first", "last", "alternate", "importance", "search"] = "search"
    """first, last: those nearest the text or the embedding; alternate: every second from the last but one down;
    importance: those whose skipping moves the embedding least; search: one by one, those that validation misses least.
    """


class PrunedHeads(Section):
    """Attention heads, cut out with their slice of the relative-position bias."""

    remove: Removed = 0
    """How many heads each layer loses; with `spread: global` on average."""
    importance: Literal["michel", "taylor"] = "michel"
    """By gradient times activation of a head's output: its mean size (Michel et al. 2019), or its mean square."""
    spread: Spread = "equal"
    """equal: as many in each layer; global: the weakest of all layers, of which each keeps at least one."""


class PrunedNeurons(Section):
    """Neurons of the feed-forward layers."""

    ratio: Ratio = 0.0
    """Share of the neurons that goes, 0 to below 1."""
    importance: Literal["taylor", "activation"] = "taylor"
    """taylor: mean square of gradient times activation; activation: its norm times that of the outgoing weights."""
    spread: Spread = "equal"
    """equal: as many in each layer; global: the weakest of all layers."""
    multiple_of: Count = 16
    """What is left of each layer is rounded to a multiple of so many, which matrix kernels run faster."""


class PrunedHidden(Section):
    """Hidden width, all through the encoder, by torch-pruning's dependency graph."""

    ratio: Ratio = 0.0
    """Share of the hidden states' dimensions that goes, 0 to below 1; what is left is a multiple of heads and of 8."""


class PrunedWeights(Section):
    """Single weights of the layers' matrices, set to zero once; zeros that grow in training are `student.sparsity`."""

    ratio: Ratio = 0.0
    """Share of the weights that becomes zero, 0 to below 1."""
    method: Literal["magnitude", "sparsegpt"] = "magnitude"
    """magnitude: the smallest go; sparsegpt: those that the others of their matrix can best make good on calibration
    texts, which these then do."""
    scope: Literal["layer", "global"] = "global"
    """Rank weights within each matrix or over all of them; with `group_size` within each group."""
    group_size: Annotated[int, Field(ge=2)] | None = None
    """N:M sparsity: as many zeros in every so many inputs in a row (0.5 and 4: 2 of 4); null: zeros anywhere."""

    @model_validator(mode="after")
    def _consistent(self) -> PrunedWeights:
        if self.method == "sparsegpt" and self.group_size:
            raise ValueError("`method: sparsegpt` puts zeros anywhere: leave `group_size` out, or take magnitude")
        if self.ratio:
            self.sparsity()  # the same rules as in training
        return self

    def sparsity(self) -> Sparsity:
        """The same zeros as `core.sparsity` takes them; `ratio` above 0."""
        return Sparsity(final_sparsity=self.ratio, scope=self.scope, group_size=self.group_size)


class Pruning(Section):
    """What `prune.run` cuts off a checkpoint, in this order; what is 0 stays whole."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "pruned"
    """The folder below `output` that the pruned checkpoint is written to."""
    calibration_texts: Count = 512
    """Training rows, drawn with the seed, on which importance is measured."""
    validation_texts: Count = 1000
    """Validation rows, drawn with the seed, on which `layers.rule: search` and `prune.costs` judge."""
    layers: PrunedLayers = PrunedLayers()
    """Whole layers."""
    heads: PrunedHeads = PrunedHeads()
    """Attention heads."""
    neurons: PrunedNeurons = PrunedNeurons()
    """Feed-forward neurons."""
    hidden: PrunedHidden = PrunedHidden()
    """Hidden width."""
    weights: PrunedWeights = PrunedWeights()
    """Single weights."""
