"""Heads, export and the verdict."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from core.schema.base import Count, NamedPath, Rate, Section


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
    int4: FourBits = FourBits()
    """The four bits of `int4`."""
    parity: Parity = Parity()
    """Comparison with PyTorch."""


class Limits(Section):
    """The targets of the verdict; null leaves one out."""

    model_size_mb: Annotated[float, Field(gt=0.0)] | None = 50.0
    """Every byte of the folder, MB (10^6 bytes), at most."""
    p95_ms: Annotated[float, Field(gt=0.0)] | None = 3.0
    """95th percentile of text-to-decision latency, milliseconds, below."""
    binary_f1: Rate | None = 0.95
    """F1 of attack against benign, above."""
    false_positive_rate: Rate | None = 0.01
    """Share of benign texts flagged, below."""
    binary_recall: Rate | None = 0.97
    """Share of attacks caught, above (the roadmap's false-negative rate below 0.03)."""
    memory_usage_mb: Annotated[float, Field(gt=0.0)] | None = 200.0
    """Peak resident memory of the serving process, MB, at most."""
    p50_ms: Annotated[float, Field(gt=0.0)] | None = 2.0
    """Median text-to-decision latency, milliseconds, below."""
    p99_ms: Annotated[float, Field(gt=0.0)] | None = 5.0
    """99th percentile of text-to-decision latency, milliseconds, below."""


class Evaluation(Section):
    """How a checkpoint is judged."""

    split: str = "validation"
    """The rows to judge on: validation, test or a name of `data.extra`; only validation is read without being named."""
    latency_calls: Annotated[int, Field(ge=0)] = 1000
    """Timed calls, batch 1, over the split's texts in random order: at least 1000, or 0 to time nothing."""
    warmup_calls: Annotated[int, Field(ge=1)] = 50
    """Untimed calls before them."""
    threads: Count = 1
    """Threads of the measured model."""
    grid_seconds: Annotated[float, Field(ge=0.0)] = 30.0
    """Time box of the grid (length, threads, batch, padding) beside the headline figure, seconds; 0 leaves it out."""
    peers: tuple[NamedPath, ...] = ()
    """`eval.race`: the checkpoint folders timed against `checkpoint`, their calls interleaved with its own;
    `eval.fidelity`: the one teacher that `checkpoint` is measured against."""
    throughput_seconds: Annotated[float, Field(ge=0.0)] = 5.0
    """How long the saturated throughput is measured, seconds; 0 leaves it out."""
    bootstrap_repeats: Annotated[int, Field(ge=100)] = 2000
    """Resamples behind each bootstrap interval."""
    targets: Limits = Limits()
    """What a checkpoint must meet."""

    @model_validator(mode="after")
    def _enough_calls(self) -> Evaluation:
        if 0 < self.latency_calls < 1000:
            raise ValueError(
                f"`latency_calls` is {self.latency_calls}: percentiles need at least 1000 calls (0 times nothing)"
            )
        return self
