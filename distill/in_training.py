"""Zeros and rounded weights while a model is trained, by callbacks that the Trainer need not know of."""

from __future__ import annotations

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from core import activation_ranges, fake_quant, sparsity
from core.activation_ranges import Scale
from core.masks import cubic
from core.schema.compression import FakeQuantisation, Sparsity


class SparsityOnSchedule(TrainerCallback):
    """Sets the masks before a step to what its number says, so that a resumed training has those it would have had.

    Comes before early stopping: a checkpoint with fewer zeros is no rival of the final ones.
    """

    def __init__(self, layers: nn.Module, settings: Sparsity) -> None:
        """layers: masked already, as `core.sparsity.apply` does."""
        self.layers = layers
        self.settings = settings

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        settings, step = self.settings, state.global_step
        begin, end = (_step(ratio, state) for ratio in (settings.begin_ratio, settings.end_ratio))
        sparsity.learn_scores(self.layers, step < end)
        often = 1 if settings.method == "soft_movement" else settings.update_steps
        if settings.final_sparsity is not None and begin <= step <= end and (step == end or not (step - begin) % often):
            ratio = cubic(step, begin, end, settings.initial_sparsity, settings.final_sparsity)
            sparsity.update(self.layers, settings, ratio)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        settings = self.settings
        begin, end = (_step(ratio, state) for ratio in (settings.begin_ratio, settings.end_ratio))
        if settings.score_penalty and state.global_step < end:
            weight = cubic(state.global_step, begin, end, 0.0, settings.score_penalty)
            sparsity.add_penalty(self.layers, weight)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if self.settings.final_sparsity is not None:
            forget_best(state, _step(self.settings.end_ratio, state))

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if "loss" in state.log_history[-1]:
            state.log_history[-1]["zeros"] = sparsity.zeros(self.layers)


class FreezeRanges(TrainerCallback):
    """Fixes the ranges of the activations at a step; comes before early stopping, for what was best unrounded."""

    def __init__(self, encoder: nn.Module, settings: FakeQuantisation) -> None:
        """encoder: fake-quantised already, as `core.fake_quant.apply` does."""
        self.encoder = encoder
        self.settings = settings

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if state.global_step == self._at(state):
            activation_ranges.freeze(self.encoder)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        forget_best(state, self._at(state))

    def _at(self, state: TrainerState) -> int:
        return max(1, _step(self.settings.freeze_ratio, state))


def forget_best(state: TrainerState, changed: int) -> None:
    """Lets the validation that just ran be the best one, if the best so far was of a model before step `changed`."""
    if state.best_global_step is not None and state.best_global_step <= changed:
        state.best_metric = state.best_global_step = state.best_model_checkpoint = None


def begin(
    encoder: nn.Module, layers: nn.Module, zeros: Sparsity | None, rounding: FakeQuantisation | None
) -> list[TrainerCallback]:
    """Masks `layers`, rounds the weights of the whole `encoder`, and returns the callbacks that go with them.

    To be called before the optimiser is made, and whether or not a training is resumed: what is saved has the names of
    the parametrised weights.
    """
    callbacks: list[TrainerCallback] = []
    if zeros is not None:
        sparsity.apply(layers, zeros)
        callbacks.append(SparsityOnSchedule(layers, zeros))
    if rounding is not None:
        fake_quant.apply(encoder, rounding)
        if rounding.activations:
            callbacks.append(FreezeRanges(encoder, rounding))
    return callbacks


def end(encoder: nn.Module) -> dict[str, Scale]:
    """Makes the model an ordinary one with its zeros and rounded weights; returns the fixed scales of activations."""
    scales = activation_ranges.scales(encoder)
    fake_quant.remove(encoder)
    sparsity.remove(encoder)
    return scales


def _step(ratio: float, state: TrainerState) -> int:
    return int(ratio * state.max_steps)
