"""Training on transformers' Trainer: the weighted sum of losses, every term logged, resumable, judged on validation."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler
from transformers import EarlyStoppingCallback, EvalPrediction, Trainer, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import get_last_checkpoint

from core.errors import UserError
from core.precision import bf16_training
from core.rows import IGNORED
from core.schema import Heads, Losses, Training
from distill import losses
from distill.callbacks import Judge, ReportOnSave, StopOnInterrupt
from distill.classifier import Logits, SentenceClassifier
from distill.training_set import TeacherTargets, TrainingSet, collate
from eval.metrics import auroc, confusion, threshold_at_fpr


class ByLength(LengthGroupedSampler):
    """Batches of like length, in an order that seed and epoch alone decide: a resumed epoch goes on in the same one."""

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator())
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.generator.manual_seed(self.seed + epoch)


class DistillationTrainer(Trainer):
    """A Trainer whose loss is the weighted sum of `config`'s terms."""

    config: Losses
    targets: Mapping[bool, TeacherTargets | None]  # by whether the model is in training
    pending: list[dict[str, float]]  # the terms of every step since the last log

    def loss_terms(self, model: torch.nn.Module, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Logits]:
        """Every term that has a weight, unweighted, by name."""
        config, rows, targets = self.config, inputs["row"], self.targets[model.training]
        output = model(inputs["input_ids"], inputs["attention_mask"])
        logits = output.logits
        shares = {"binary": 1.0, "family": config.family_weight, "subfamily": config.subfamily_weight}
        scores = {"binary": losses.two_class(logits.binary), "family": logits.family, "subfamily": logits.subfamily}
        terms: dict[str, Tensor] = {}
        if config.task:
            parts = [share * losses.cross_entropy(scores[name], inputs[name]) for name, share in shares.items()]
            terms["task"] = torch.stack(parts).sum()
        if targets is None:
            return terms, logits
        embedding, known = targets.of(rows)
        if config.embedding_cosine:
            terms["embedding_cosine"] = losses.embedding_cosine(output.embedding, embedding)
        if config.embedding_mse:
            terms["embedding_mse"] = losses.embedding_mse(output.embedding, embedding)
        if config.logits_kd:
            attacks = inputs["family"] != IGNORED  # the teacher's family of a benign text is noise
            pairs = {
                "binary": (scores["binary"], losses.two_class(known.binary)),
                "family": (logits.family[attacks], known.family[attacks]),
                "subfamily": (logits.subfamily[attacks], known.subfamily[attacks]),
            }
            parts = [share * losses.logits_kd(*pairs[name], config.temperature) for name, share in shares.items()]
            terms["logits_kd"] = torch.stack(parts).sum()
        if targets.hidden is not None:
            wanted = targets.hidden(rows.tolist(), inputs["input_ids"], inputs["attention_mask"]).to(rows.device)
            terms["hidden_mse"] = losses.hidden_mse(output.hidden.float(), wanted.float(), inputs["attention_mask"])
        return terms, logits

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        if not self.args.group_by_length:
            return super()._get_train_sampler(train_dataset)
        texts = self.args.train_batch_size * self.args.gradient_accumulation_steps
        rows = train_dataset or self.train_dataset
        assert isinstance(rows, Dataset)
        return ByLength(texts, [len(ids) for ids in rows["input_ids"]], self.args.seed)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, Logits]:
        """The weighted sum."""
        terms, logits = self.loss_terms(model, inputs)
        weights = self.config.model_dump()
        loss = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
        if not torch.isfinite(loss):
            raise UserError(
                f"the loss is {loss.item()} at step {self.state.global_step}: lower the learning rate,"
                " or set training.precision=fp32"
            )
        if model.training:
            self.pending.append({name: float(value.detach()) for name, value in terms.items()})
        return (loss, logits) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the mean of every term since the last training log."""
        if "loss" in logs and self.pending:
            means = {name: float(np.mean([step[name] for step in self.pending])) for name in self.pending[0]}
            logs |= {f"loss_{name}": value for name, value in means.items()}
            self.pending.clear()
        super().log(logs, start_time)

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor, Any, Tensor]:
        """Loss, logits of the three heads, and row numbers of one validation batch."""
        prepared = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, logits = self.compute_loss(model, prepared, return_outputs=True)
        return loss, (logits.binary.float(), logits.family.float(), logits.subfamily.float()), prepared["row"]


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
) -> dict[str, float]:
    """Trains `model` in place to its best validation state and returns what the Trainer measured.

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
    result = trainer.train(resume_from_checkpoint=last)
    if stop.interrupted:
        raise KeyboardInterrupt
    model.cpu()  # what follows (heads, operating point, saving) is small
    return dict(result.metrics)


def validation_metrics(logits: NDArray[np.float32], labels: NDArray[np.int64], heads: Heads) -> dict[str, float]:
    """F1, recall and FPR at the operating point that these rows give, and AUROC, from the attack logit."""
    threshold = threshold_at_fpr(labels, logits, heads.max_false_positive_rate, heads.safety_margin)
    matrix = confusion(labels, logits >= threshold)
    return {
        "f1": matrix.f1,
        "recall_at_target": matrix.recall,
        "fpr": matrix.false_positive_rate,
        "auroc": auroc(labels, logits),
    }
