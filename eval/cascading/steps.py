"""The settings that are tried: those of a checkpoint's first layer, or limits on the scores of a model before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from core import first_layer
from core.errors import UserError
from core.first_layer import SureLayer
from core.first_layer_model import ModelLayer, log_odds, refuse_unlike
from core.heads import HeadScores
from core.pipeline import Pipeline
from core.rows import Rows
from core.schema import Cascade
from core.schema.guard import SURE
from core.sureness import Setting, choose

Before = tuple[HeadScores, Sequence[bool]]
"""What a model before says of texts, and whether it read them whole."""


@dataclass(frozen=True)
class Trial:
    """One layer before the model, ready to be called."""

    name: str
    kind: Literal["keywords", "model"]
    layer: SureLayer | ModelLayer
    pipeline: Pipeline

    @property
    def setting(self) -> Setting:
        return self.layer.setting

    def verdicts(self, texts: Sequence[str], before: Before | None) -> list[HeadScores | None]:
        """What the layer decides of each text; `before`: of a model before, asked once for all settings."""
        if isinstance(self.layer, ModelLayer) and before is not None:
            return self.layer.sure(*before)
        return self.layer.judge_all(texts)


def alone(model: Pipeline) -> Pipeline:
    """The model without a layer, decoded views read as the checkpoint says."""
    return model.served(replace(model.serving, first_layer=None))


def keyword_trials(model: Pipeline) -> list[Trial]:
    """A trial for each setting of the checkpoint's first layer; UserError where it has none."""
    found = []
    for name in SURE:
        layer = first_layer.read(model.folder, name, model.taxonomy)
        found.append(Trial(name, "keywords", layer, alone(model).served(alone(model).serving, layer)))
    return found


def model_trials(first: Pipeline, model: Pipeline, validation: Rows, config: Cascade) -> list[Trial]:
    """A trial for each pair of shares, the limits chosen on the scores of the validation rows."""
    refuse_unlike(first, model)
    if len(np.unique(validation.labels)) < 2:
        raise UserError("limits for the first model need attacks and benign texts among the validation rows")
    names = [f"misses {miss:g}, alarms {alarm:g}" for miss, alarm in zip(config.misses, config.alarms, strict=True)]
    odds = log_odds(first.model_scores(validation.texts).attack)
    chosen = choose(odds, validation.labels, config.misses, config.alarms, names)
    layers = {name: ModelLayer(first, setting) for name, setting in chosen.items()}
    base = alone(model)
    return [Trial(name, "model", layer, base.served(base.serving, layer)) for name, layer in layers.items()]
