"""Heads and export."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from core.schema.base import Count, Rate, Section


class Heads(Section):
    """The classifiers on the embedding."""

    kind: Literal["linear", "logistic", "random_forest", "gradient_boosting", "mlp"] = "linear"
    """linear: those trained with the encoder (distill.fit_heads: logistic); the others are fitted on the embeddings."""
    inverse_regularisation: Annotated[float, Field(gt=0.0)] = 10.0
    """scikit-learn's C of the logistic heads; the mlp's penalty `alpha` is 1 / C."""
    trees: Count = 50
    """Trees of each random forest; rounds of gradient boosting (a round is one tree a class; for two classes, one)."""
    binary_depth: Count = 20
    """Deepest tree of the binary head, in splits …"""
    family_depth: Count = 15
    """… of the family head …"""
    subfamily_depth: Count = 12
    """… and of the sub-family head."""
    leaves: Annotated[int, Field(ge=2)] = 31
    """Most leaves of a tree of gradient boosting."""
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    """Shrinkage of gradient boosting: the share of each tree that is added."""
    hidden_sizes: Annotated[tuple[Count, ...], Field(min_length=1)] = (64,)
    """Widths of the mlp's hidden layers."""
    epochs: Count = 30
    """Passes of the mlp over the training rows, at most."""
    calibration: Literal["none", "sigmoid", "isotonic"] = "sigmoid"
    """On validation. none: the binary logit moves to its threshold alone; sigmoid: a slope a head; isotonic: curves."""
    threshold: Literal["target_fpr", "best_f1", "cost"] = "target_fpr"
    """How validation chooses the threshold: highest recall under a false-positive rate, highest F1, or least cost."""
    max_false_positive_rate: Rate = 0.01
    """With `threshold: target_fpr` the threshold is the lowest whose false-positive rate stays below this …"""
    safety_margin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """… reduced by this share, because validation's rate is only an estimate."""
    false_positive_cost: Annotated[float, Field(gt=0.0)] = 1.0
    """With `threshold: cost`: what a flagged benign text costs, in any unit …"""
    false_negative_cost: Annotated[float, Field(gt=0.0)] = 1.0
    """… and what a missed attack costs, in the same unit."""


class Parity(Section):
    """How far an exported graph may differ from PyTorch before nothing is written."""

    texts: Count = 500
    """Texts compared, from validation."""
    min_cosine: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    """Lowest cosine of a single text's embedding to PyTorch's."""
    max_flip_rate: Annotated[float, Field(ge=0.0, le=1.0)] = 0.02
    """Share of the texts whose decision may differ."""


class FourBits(Section):
    """How weights come to four bits."""

    rounding: Literal["nearest", "searched", "compensated"] = "compensated"
    """To the nearest integer; with steps of least error on the calibration texts; or also each error made good by the
    weights that follow (GPTQ). What `student.fake_quantisation` trained in four bits keeps its integers in all three.
    """
    block_size: Annotated[int, Field(ge=8)] | None = 64
    """Inputs of a product, or places of a token's vector, with a step of their own, a whole multiple (1 to 15) of the
    one scale that an INT8 product knows; null: one step for all of them."""


Format = Literal[
    "fp32",
    "fp16",
    "int8",
    "int8_avx2",
    "int8_packed",
    "int8_dynamic",
    "int4",
    "int4_packed",
    "int4_nbits_rtn",
    "int4_nbits_hqq",
    "int4_nbits_gptq",
]
Layout = Literal["raxe-folder", "raxe-bundle", "raxe-0.15", "sentence-transformers"]


class Export(Section):
    """ONNX graphs and serving folders."""

    formats: Annotated[tuple[Format, ...], Field(min_length=1)] = ("fp32", "int8")
    """A folder each. int8: scales fixed on training texts; _avx2: also 7-bit weights; _dynamic: scales per batch;
    int4: runs as int8; int8_packed, int4_packed: the same outputs from a file that leaves zeros out;
    int4_nbits_…: onnxruntime's own four bits (MatMulNBits), for comparison."""
    layouts: Annotated[tuple[Layout, ...], Field(min_length=1)] = ("raxe-folder",)
    """A folder for each of these and each format, but one sentence-transformers folder for all formats."""
    bundle_tokenizer: str | None = None
    """Hub name or folder from which a raxe-bundle's consumer loads the tokenizer; null: the folder that is written."""
    calibration_texts: Count = 512
    """Training texts on which int8 (but _dynamic) and int4 fix their scales, and int4 measures what its errors do."""
    merge_heads: bool = False
    """Also write encoder and heads as one graph from ids to all scores, `scores.onnx`."""
    embedding_bits: Literal[4, 8] = 8
    """Bits of a weight in the table of words of int8, int8_avx2 and int8_packed; 4 also holds positions in a byte."""
    int4: FourBits = FourBits()
    """The four bits of `int4`, and of the table where `embedding_bits` is 4."""
    parity: Parity = Parity()
    """Comparison with PyTorch."""
