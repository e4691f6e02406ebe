"""Training on transformers' Trainer: the weighted sum of losses, every term logged, resumable, judged on validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import Sampler
from transformers import Trainer
from transformers.trainer_pt_utils import LengthGroupedSampler

from core.errors import UserError
from core.rows import IGNORED
from core.schema import Losses
from distill import losses
from distill.classifier import Logits
from distill.training_set import TeacherTargets


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
