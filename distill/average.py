"""The exponential moving average of the weights over a training's steps, kept beside the weights that it follows."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from distill.classifier import ClassifierOutput, SentenceClassifier
from distill.token_states import NO_LAYERS, Layers

Tensors = tuple[Tensor, ...] | list[Tensor]


def decay_at(steps: int, decay: float) -> float:
    """The average's share in the next one, after so many steps: (1 + steps) / (10 + steps) until that is `decay`.

    Without this warm-up (TensorFlow's ExponentialMovingAverage) a short training would end in its first weights.
    """
    return min(decay, (1 + steps) / (10 + steps))


class Averaged(nn.Module):
    """Trains a classifier and follows it: in training the raw weights answer, in validation their average.

    After every step average <- d * average + (1 - d) * raw, beginning with the first step's weights (Polyak & Juditsky
    1992; for networks Tarvainen & Valpola 2017). A step checkpoint of this module holds both and the number of steps.
    """

    def __init__(self, raw: SentenceClassifier, decay: float) -> None:
        super().__init__()

        def blend(average: Tensors, now: Tensors, steps: Tensor | int) -> None:
            get_ema_multi_avg_fn(decay_at(int(steps), decay))(average, now, steps)

        self.raw = raw
        self.average = AveragedModel(raw, multi_avg_fn=blend)
        self.average.requires_grad_(False)  # so that neither optimiser nor processes take it for something to train

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, layers: Layers = NO_LAYERS, detached: Collection[str] = ()
    ) -> ClassifierOutput:
        """As the classifier's; named one by one, since the Trainer reads a meaning out of `**` in a signature."""
        answering = self.raw if self.training else self.average
        output: ClassifierOutput = answering(input_ids, attention_mask, layers, detached)
        return output

    @torch.no_grad()
    def follow(self) -> None:
        """Takes the weights of the step just done into the average."""
        self.average.update_parameters(self.raw)

    def settle(self) -> None:
        """The average becomes the weights of the classifier itself."""
        self.raw.load_state_dict(self.average.module.state_dict())


class AverageEveryStep(TrainerCallback):
    """Keeps the average up to date, before anything is validated or saved."""

    def __init__(self, averaged: Averaged) -> None:
        self.averaged = averaged

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self.averaged.follow()
