"""An ensemble of unlike teachers: its members, and how their scores become one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from core.schema.base import NamedPath, Section


class Ensemble(Section):
    """Checkpoints of any kind that teach (or guard) together; `distill.ensemble` builds it."""

    members: tuple[NamedPath, ...] = ()
    """Checkpoint folders (PyTorch, ONNX, lexical) for the same families and sub-families; they are copied."""
    blend: Literal["logistic", "mean"] = "logistic"
    """The members' log-odds of attack: weighed by a logistic regression on validation, or averaged."""
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    """`blend: logistic`: the threshold comes from weights fitted on the other folds of validation, by group."""
