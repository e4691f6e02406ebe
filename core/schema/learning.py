"""One training: its length, rates, batches, and when it is judged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from core.schema.base import Count, Section


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
