"""What may be done to a student's matrices while it is trained: zeros, and rounding to the integers of its export."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from core.schema.base import Count, Rate, Section, Weight


class Sparsity(Section):
    """Weights of the encoder's layers that are set to zero while it is trained."""

    method: Literal["keep", "magnitude", "movement", "soft_movement"] = "magnitude"
    """keep: a pruned checkpoint's zeros; magnitude: the smallest weights; the others: those that training shrinks."""
    final_sparsity: Rate | None = None
    """Share of zeros in the end; null with `method: keep`, and only then."""
    initial_sparsity: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of zeros at the first step of the schedule."""
    scope: Literal["layer", "global"] = "global"
    """Rank weights within each matrix or over all of them; with `group_size` within each group."""
    group_size: Annotated[int, Field(ge=2)] | None = None
    """N:M sparsity: as many zeros in every so many inputs in a row (0.5 and 4: 2 of 4); null: zeros anywhere."""
    begin_ratio: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Share of the steps after which zeros begin."""
    end_ratio: Rate = 0.6
    """Share of the steps after which the final sparsity is reached; the rest of the training recovers."""
    update_steps: Count = 20
    """Steps between two updates of the masks, on the cubic schedule; soft_movement updates in every step."""
    score_learning_rate: Annotated[float, Field(gt=0.0)] = 1.0e-2
    """Peak learning rate of the scores of movement and soft_movement."""
    score_penalty: Weight = 0.0
    """With soft_movement: weight of the mean sigmoid of the scores, added to the loss; what decides how many fall."""

    @model_validator(mode="after")
    def _consistent(self) -> Sparsity:
        if (self.method == "keep") != (self.final_sparsity is None):
            raise ValueError(
                "`method: keep` keeps the zeros that are there and takes no `final_sparsity`; all others need it"
            )
        if self.end_ratio <= self.begin_ratio:
            raise ValueError(f"end_ratio {self.end_ratio} must be above begin_ratio {self.begin_ratio}")
        if self.final_sparsity is None:
            return self
        if self.initial_sparsity > self.final_sparsity:
            raise ValueError(f"initial_sparsity {self.initial_sparsity} is above final_sparsity {self.final_sparsity}")
        if (self.score_penalty > 0) != (self.method == "soft_movement"):
            raise ValueError(
                "`score_penalty` above 0 and `method: soft_movement` need each other: nothing else lowers scores alike"
            )
        zeros = self.final_sparsity * (self.group_size or 1)
        if self.group_size and (abs(zeros - round(zeros)) > 1e-9 or not round(zeros)):
            raise ValueError(
                f"final_sparsity {self.final_sparsity} of group_size {self.group_size} is {zeros:g} zeros, which must"
                " be a whole number from 1: 0.5 of 4 is 2:4"
            )
        return self


class FakeQuantisation(Section):
    """Weights that a training sees as the export will hold them: rounded to the integers of INT8 or INT4."""

    bits: Literal[4, 8] = 8
    """Bits of a weight in the matrices."""
    embedding_bits: Literal[4, 8] | None = 8
    """Bits of a weight in the table of word embeddings; null: it stays as it is."""
    block_size: Annotated[int, Field(ge=8)] | None = None
    """Inputs of one output, or places of one token's vector, that share a scale; null: all of them."""
    whole_multiples: bool = False
    """With `block_size` and 4 bits: scales that let an INT8 product take the blocks of a row together."""
    reduce_range: bool = False
    """INT8 weights of seven bits, for CPUs with AVX2 or AVX512 but without VNNI."""
    step: Literal["smallest", "searched", "learned"] = "smallest"
    """With 4 bits: the smallest that clips nothing, the one of least squared error at first, or learned from there."""
    activations: bool = False
    """Also round what enters the matrices to UINT8 of a fixed scale, as a static export does."""
    range_momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99
    """How much of the running range of an activation a batch leaves; a plain mean over the first batches."""
    freeze_ratio: Rate = 0.3
    """Share of the steps that watch the activations; from then on their ranges are fixed and they are rounded."""

    @model_validator(mode="after")
    def _consistent(self) -> FakeQuantisation:
        if self.step != "smallest" and 4 not in (self.bits, self.embedding_bits):
            raise ValueError(f"`step: {self.step}` has no effect with 8 bits: use 4 or `step: smallest`")
        if self.whole_multiples and (self.block_size is None or self.bits != 4):
            raise ValueError("`whole_multiples` has no effect without `block_size` and `bits: 4`")
        if self.whole_multiples and self.step != "smallest":
            raise ValueError(
                f"`step: {self.step}` moves scales apart that `whole_multiples` ties: use `step: smallest`"
            )
        return self
