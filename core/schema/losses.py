"""What the student learns from: loss terms, their weights over the steps, and their settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from core.schema.base import Count, Section, Weight

Step = Annotated[int, Field(ge=0)]
LABEL_TERMS = ("task", "contrastive")
# What each teacher-made term needs: sentence-level outputs, which are always cached, or token-level ones.
SENTENCE_TERMS = ("embedding_cosine", "embedding_mse", "similarity", "logits_kd")
TOKEN_TERMS = ("hidden_mse", "relations", "attention_kl", "attention_mse")


class Term(Section):
    """The weight of one loss term over the optimiser's steps, counted from 0. A plain number is short for `weight`."""

    weight: Weight = 1.0
    """The weight at its peak; 0 switches the term off."""
    warmup_steps: Step = 0
    """The weight rises linearly in so many steps, from `from_step`."""
    decay: Literal["none", "linear", "cosine"] = "none"
    """How the weight falls after its warm-up, to 0 at `until_step` or at the end of the training."""
    from_step: Step = 0
    """The first step in which the term counts."""
    until_step: Count | None = None
    """The first step in which it no longer counts; null: it counts to the end."""

    @model_validator(mode="after")
    def _in_order(self) -> Term:
        end = self.until_step
        if end is not None and (end <= self.from_step or end < self.from_step + self.warmup_steps):
            raise ValueError(
                f"`until_step` {end} leaves no step at full weight: it must lie after `from_step` {self.from_step}"
                f" and not before the end of `warmup_steps` ({self.warmup_steps})"
            )
        return self

    @model_serializer(mode="wrap")
    def _short(self, whole: SerializerFunctionWrapHandler) -> float | dict[str, Any]:
        """A constant weight is written as the number that it was: files stay short, recipes say the same."""
        return self.weight if self == Term(weight=self.weight) else whole(self)


def _as_term(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"weight": value}
    if not isinstance(value, dict | Term):
        raise ValueError("a loss term is a number (its weight) or a section of `weight`, `warmup_steps`, `decay`, …")
    return value


TermLike = Annotated[Term, BeforeValidator(_as_term, json_schema_input_type=Weight | Term)]
OFF, ON = Term(weight=0.0), Term(weight=1.0)
Layer = Annotated[int, Field(ge=1)]
Pair = Annotated[tuple[Layer, ...], Field(min_length=2, max_length=2)]


class Losses(Section):
    """The student's loss terms: each a number (its weight; 0 switches it off) or a section with a schedule."""

    embedding_cosine: TermLike = ON
    """1 - cosine between the student's and the teacher's sentence embedding."""
    embedding_mse: TermLike = OFF
    """Mean squared error between the two embeddings (both L2-normalised, summed over dimensions)."""
    similarity: TermLike = OFF
    """Squared difference between the cosines that the two models give the pairs of a batch (Tung & Mori 2019)."""
    relations: TermLike = OFF
    """MiniLMv2's query, key and value relations of one layer (Wang et al. 2021); the teacher runs in every step."""
    hidden_mse: TermLike = OFF
    """MSE between the hidden states of `layer_map`, through a learned projection; needs token-level targets."""
    attention_kl: TermLike = OFF
    """KL divergence between the attention maps of `layer_map`; the teacher runs in every step."""
    attention_mse: TermLike = OFF
    """MSE between the attention maps of `layer_map`; the teacher runs in every step."""
    logits_kd: TermLike = ON
    """KL divergence of the heads' softened logits (Hinton et al. 2015), scaled by temperature squared."""
    task: TermLike = ON
    """Cross-entropy on the labels, binary + family + sub-family."""
    contrastive: TermLike = OFF
    """Supervised contrastive loss on the embedding (Khosla et al. 2020); classes are the families and benign."""

    temperature: Annotated[float, Field(gt=0.0)] = 2.0
    """Softening of the logits in `logits_kd`."""
    family_weight: Weight = 0.5
    """Weight of the family term inside `task` and `logits_kd`, relative to binary."""
    subfamily_weight: Weight = 0.5
    """Weight of the sub-family term inside `task` and `logits_kd`, relative to binary."""
    class_weighting: Literal["none", "balanced", "focal"] = "none"
    """Family and sub-family in `task`: balanced: rare classes weigh more (Cui et al. 2019); focal: hard texts do."""
    balance_beta: Annotated[float, Field(ge=0.0, le=1.0)] = 0.999
    """`class_weighting: balanced`: a class of n rows has (1 - beta^n) / (1 - beta) effective ones; 1: n of them."""
    focal_gamma: Annotated[float, Field(ge=0.0)] = 2.0
    """`class_weighting: focal`: exponent of (1 - probability of the right class) (Lin et al. 2017)."""
    contrastive_temperature: Annotated[float, Field(gt=0.0)] = 0.1
    """What cosines are divided by in `contrastive`."""
    relation_heads: Count = 48
    """Heads of `relations`; must divide the widths of teacher and student, whatever their attention heads."""
    relation_teacher_layer: Layer | None = None
    """The teacher's layer in `relations`, from 1; null: the last of up to 12, else seven eighths of the way up."""
    relation_student_layer: Layer | None = None
    """The student's layer in `relations`, from 1; null: the last."""
    layer_map: Literal["uniform", "last", "pairs"] = "uniform"
    """Layers of `hidden_mse` and `attention_*`: all with evenly spaced ones, the `last_layers`, or as given."""
    last_layers: Count = 1
    """`layer_map: last`: so many last layers of the student with as many of the teacher, in order."""
    layer_pairs: Annotated[tuple[Pair, ...], Field(min_length=1)] | None = None
    """`layer_map: pairs`: each [student's layer, teacher's layer], from 1, for example [[3, 6], [6, 12]]."""

    @model_validator(mode="after")
    def _consistent(self) -> Losses:
        if (self.layer_map == "pairs") != (self.layer_pairs is not None):
            raise ValueError("`layer_map: pairs` and `layer_pairs` need each other, for example [[3, 6], [6, 12]]")
        return self

    def terms(self) -> dict[str, Term]:
        """Every term that has a weight, by name."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in values.items() if isinstance(value, Term) and value.weight}


def label_terms(losses: Losses) -> Losses:
    """What a teacher is fine-tuned with: the terms that need labels alone, at their full weight all along.

    Steps of the student's schedule mean nothing in another training; with no such term it is `task`.
    """
    weights = {name: term.weight for name, term in losses.terms().items() if name in LABEL_TERMS}
    switched = {name: Term(weight=weights.get(name, 0.0)) for name in (*LABEL_TERMS, *SENTENCE_TERMS, *TOKEN_TERMS)}
    if not weights:
        switched["task"] = ON
    return losses.model_copy(update=switched)
