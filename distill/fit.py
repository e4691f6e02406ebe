"""One training: optimiser, arguments, callbacks and validation metrics around the DistillationTrainer."""

from __future__ import annotations

from math import ceil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import EarlyStoppingCallback, EvalPrediction, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from core.precision import bf16_training
from core.schema import Heads, Losses, Training
from distill.callbacks import Judge, ReportOnSave, StopOnInterrupt
from distill.classifier import SentenceClassifier
from distill.trainer import DistillationTrainer
from distill.training_set import TrainingSet, collate
from eval.metrics import auroc, confusion
from eval.operating_point import threshold


def optimizer(model: SentenceClassifier, training: Training) -> torch.optim.Optimizer:
    """AdamW: heads, projection and maps at `head_learning_rate`, no decay on biases and LayerNorm."""
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        outside = name.startswith(("heads.", "hidden_map.", "encoder.projection."))
        rate = training.head_learning_rate if outside else training.learning_rate
        groups.setdefault((rate, 0.0 if parameter.dim() < 2 else training.weight_decay), []).append(parameter)
    parts = [{"params": part, "lr": rate, "weight_decay": decay} for (rate, decay), part in groups.items()]
    return torch.optim.AdamW(parts, fused=True)


def fit(
    model: SentenceClassifier,
    train_set: TrainingSet,
    validation_set: TrainingSet,
    config: Losses,
    training: Training,
    heads: Heads,
    folder: Path,
    seed: int,
    judge: Judge,
    resume: bool,
) -> float:
    """Trains `model` in place to its best validation state and returns the epochs it took.

    judge: writes a step checkpoint's report from the validation logits (binary, family, sub-family) and its folder.
    Raises KeyboardInterrupt after an interruption, once the step's checkpoint is saved.
    """
    steps = ceil(len(train_set.data) / (training.per_device_train_batch_size * training.gradient_accumulation_steps))
    interval = ceil(steps / training.evaluations_per_epoch)
    settings = training.model_dump(exclude={"head_learning_rate", "precision", "evaluations_per_epoch"})
    patience = settings.pop("early_stopping_patience")
    arguments = TrainingArguments(
        output_dir=str(folder),
        logging_dir=str(folder / "tensorboard"),
        report_to=["tensorboard"],
        per_device_eval_batch_size=64,
        eval_strategy="steps",
        eval_steps=interval,
        save_strategy="steps",
        save_steps=interval,
        save_total_limit=2,
        load_best_model_at_end=True,
        greater_is_better=training.metric_for_best_model != "eval_loss",
        bf16=training.precision == "bf16" or (training.precision == "auto" and bf16_training()),
        use_cpu=not torch.cuda.is_available(),
        seed=seed,
        remove_unused_columns=False,
        label_names=["row"],
        dataloader_pin_memory=False,
        **settings,
    )
    stop, report = StopOnInterrupt(), ReportOnSave(judge)

    def measure(prediction: EvalPrediction) -> dict[str, float]:
        order = np.argsort(np.asarray(prediction.label_ids))  # validation, too, is batched by length
        report.scores = tuple(np.asarray(part)[order] for part in prediction.predictions)
        return validation_metrics(report.scores[0], np.asarray(validation_set.data["binary"]), heads)

    trainer = DistillationTrainer(
        model,
        arguments,
        data_collator=collate,
        train_dataset=train_set.data,
        eval_dataset=validation_set.data,
        compute_metrics=measure,
        optimizers=(optimizer(model, training), None),
        callbacks=[EarlyStoppingCallback(patience), report, stop],
    )
    trainer.config = config
    trainer.pending = []
    trainer.targets = {True: train_set.targets, False: validation_set.targets}
    last = get_last_checkpoint(str(folder)) if resume and folder.is_dir() else None
    trainer.train(resume_from_checkpoint=last)
    if stop.interrupted:
        raise KeyboardInterrupt
    model.cpu()  # what follows (heads, operating point, saving) is small
    return float(trainer.state.epoch or 0.0)


def validation_metrics(logits: NDArray[np.float32], labels: NDArray[np.int64], heads: Heads) -> dict[str, float]:
    """F1, recall and FPR at the operating point that these rows give, and AUROC, from the attack logit."""
    matrix = confusion(labels, logits >= threshold(logits, labels, heads))
    return {
        "f1": matrix.f1,
        "recall_at_target": matrix.recall,
        "fpr": matrix.false_positive_rate,
        "auroc": auroc(labels, logits),
    }
