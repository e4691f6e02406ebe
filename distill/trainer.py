"""Training on transformers' Trainer: the weighted sum of losses, every term logged, resumable, judged on validation."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor

from core.rows import IGNORED
from core.schema import Losses
from core.schema.losses import TOKEN_TERMS
from distill import distributed, losses
from distill.batches import BatchingTrainer
from distill.classifier import Logits
from distill.poison import refuse_poison
from distill.schedule import refuse_idle, weights_at
from distill.terms import Batch, joined, loss_term, own_share
from distill.token_states import NO_PLAN
from distill.training_set import TeacherTargets

LOGIT_TERMS = ("task", "logits_kd")


def unread(names: Collection[str]) -> tuple[str, ...]:
    """What of the student's sentence-level output, the embedding and the logits made of it, these terms leave aside.

    It is detached, or several processes would wait for its gradient; and by one of zero, unlike by none, AdamW would
    decay and move the weights behind it.
    """
    if not set(names) - set(TOKEN_TERMS):
        return ("embedding", "logits")
    return () if set(names) & set(LOGIT_TERMS) else ("logits",)


class DistillationTrainer(BatchingTrainer):
    """A Trainer whose loss is the weighted sum of `config`'s terms."""

    config: Losses
    targets: Mapping[bool, TeacherTargets | None]  # by whether the model is in training
    pending: list[dict[str, float]]  # the terms of every step since the last log

    def weights(self, training: bool) -> dict[str, float]:
        """The weight of every term in this step; in validation its peak, so that losses of unlike steps compare."""
        terms = self.config.terms()
        if not training:
            return {name: term.weight for name, term in terms.items()}
        return weights_at(terms, self.state.global_step, self.state.max_steps)

    def loss_terms(
        self, model: torch.nn.Module, inputs: Mapping[str, Tensor], names: Collection[str]
    ) -> tuple[dict[str, Tensor], Logits]:
        """The terms of these names, unweighted; what none of them needs is not computed."""
        targets, rows, mask = self.targets[model.training], inputs["row"], inputs["attention_mask"]
        plan = targets.plan.only(names) if targets else NO_PLAN
        output = model(inputs["input_ids"], mask, plan.student, unread(names))
        tokens = None
        if targets and targets.tokens and plan:
            tokens = targets.tokens(rows.tolist(), inputs["input_ids"], mask, plan.teacher)
        labels = {name: inputs[name] for name in ("binary", "family", "subfamily")}
        own = Batch(output, labels, mask, tokens=tokens, class_weights=self.class_weights)
        whole = own
        share: Tensor | float = 1.0
        if distributed.size() > 1:
            real = int(inputs.get("real", len(rows) * distributed.size()))  # the rest fills up an epoch's last batch
            whole, (own, share), rows = joined(own, real), own_share(own, real), distributed.join(rows)[:real]
        embedding, logits = targets.of(rows) if targets else (None, None)
        whole = replace(whole, embedding=embedding, logits=logits)
        terms = {name: loss_term(name, self.config, whole) for name in names if name not in TOKEN_TERMS}
        token_terms = [name for name in names if name in TOKEN_TERMS]
        terms |= {name: share * loss_term(name, self.config, own) for name in token_terms}
        return {name: terms[name] for name in names}, output.logits

    @cached_property
    def class_weights(self) -> dict[str, Tensor] | None:
        """Of family and sub-family, from their numbers of training rows, where they are asked for."""
        if self.config.class_weighting != "balanced":
            return None
        rows, found = self.train_dataset, dict[str, Tensor]()
        assert isinstance(rows, Dataset)
        for name in ("family", "subfamily"):
            target = torch.from_numpy(np.asarray(rows[name]))
            counts = torch.bincount(target[target != IGNORED])
            found[name] = losses.balanced_weights(counts, self.config.balance_beta).to(self.args.device)
        return found

    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
        refuse_idle(self.config.terms(), num_training_steps)  # the first moment at which the steps are known
        super().create_optimizer_and_scheduler(num_training_steps)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, Logits]:
        """The weighted sum."""
        weights = {name: weight for name, weight in self.weights(model.training).items() if weight}
        terms, logits = self.loss_terms(model, inputs, weights)
        loss = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
        self.refuse_poison("loss", loss, inputs["row"], model.training)
        if model.training:
            self.pending.append({name: float(value.detach()) for name, value in terms.items()})
        return (loss, logits) if return_outputs else loss

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Tensor], num_items_in_batch: Tensor | None = None
    ) -> Tensor:
        """Forward and back; gradients that are not finite are refused before they reach a weight.

        Their norm is taken before clipping, which would turn an infinite one into no step at all.
        """
        loss = super().training_step(model, inputs, num_items_in_batch)
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        self.refuse_poison("gradient norm", torch.nn.utils.get_total_norm(gradients), inputs["row"], training=True)
        return loss

    def refuse_poison(self, name: str, value: Tensor, rows: Tensor, training: bool) -> None:
        texts = self.train_dataset if training else self.eval_dataset
        assert isinstance(texts, Dataset)
        refuse_poison(name, value, rows, texts, self.state.global_step, "training" if training else "validation")

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the mean of every term over the steps since the last training log that counted it, and its weight."""
        if "loss" in logs and self.pending:
            terms = self.config.terms()
            counted = {name: [step[name] for step in self.pending if name in step] for name in terms}
            found = {f"loss_{name}": float(np.mean(values)) for name, values in counted.items() if values}
            logs |= distributed.means(found)
            weights = weights_at(terms, self.state.global_step - 1, self.state.max_steps)  # in the step just done
            logs |= {f"weight_{name}": weight for name, weight in weights.items()}
            self.pending.clear()
        logs.pop("train_loss", None)  # the Trainer divides the steps since a resume by all steps: a wrong figure
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
            loss, logits = self.compute_loss(model, prepared | self.real_rows(), return_outputs=True)
            loss = distributed.join(loss[None]).mean()
        return loss, (logits.binary.float(), logits.family.float(), logits.subfamily.float()), prepared["row"]
