"""What a `training` section says to torch and to transformers: the optimiser and the Trainer's arguments."""

from __future__ import annotations

from math import ceil
from pathlib import Path

import torch
from transformers import TrainingArguments

from core.schema import Training
from distill import distributed
from distill.classifier import SentenceClassifier

EVAL_BATCH = 64  # over all processes
OURS = {"head_learning_rate", "precision", "evaluations_per_epoch", "early_stopping_patience", "ema_decay"}


def optimizer(
    model: SentenceClassifier, training: Training, score_learning_rate: float | None = None
) -> torch.optim.Optimizer:
    """AdamW: heads, projection and maps at `head_learning_rate`, no decay on biases and LayerNorm.

    Nor on what decides which weights are zero, the scores of masks, at their own rate, and on learned rounding steps.
    """
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        outside = name.startswith(("heads.", "hidden_map.", "encoder.projection."))
        rate = training.head_learning_rate if outside else training.learning_rate
        if name.endswith(".scores") and score_learning_rate:
            rate = score_learning_rate
        free = parameter.dim() < 2 or name.endswith((".scores", ".scales"))
        groups.setdefault((rate, 0.0 if free else training.weight_decay), []).append(parameter)
    parts = [{"params": part, "lr": rate, "weight_decay": decay} for (rate, decay), part in groups.items()]
    return torch.optim.AdamW(parts, fused=True)


def trainer_arguments(training: Training, rows: int, folder: Path, seed: int, bf16: bool) -> TrainingArguments:
    """The Trainer's settings for `rows` training rows, saving in `folder`."""
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps * distributed.size()
    steps = ceil(rows / batch)
    interval = ceil(steps / training.evaluations_per_epoch)
    return TrainingArguments(
        output_dir=str(folder),
        logging_dir=str(folder / "tensorboard"),
        report_to=["tensorboard"],
        per_device_eval_batch_size=max(1, EVAL_BATCH // distributed.size()),
        eval_strategy="steps",
        eval_steps=interval,
        save_strategy="steps",
        save_steps=interval,
        load_best_model_at_end=True,
        restore_callback_states_from_checkpoint=True,  # the patience already used up
        greater_is_better=training.metric_for_best_model != "eval_loss",
        bf16=bf16,
        use_cpu=not torch.cuda.is_available(),
        seed=seed,
        data_seed=seed if distributed.size() > 1 else None,  # the order is the same in every process
        ddp_backend="gloo" if distributed.size() > 1 and not torch.cuda.is_available() else None,
        ddp_find_unused_parameters=distributed.size() > 1,  # terms with no weight in this step
        remove_unused_columns=False,
        label_names=["row"],
        dataloader_pin_memory=False,
        **training.model_dump(exclude=OURS),
    )
