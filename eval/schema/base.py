"""What all parts of a report share: they are frozen, strict, and refuse figures that contradict each other."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

Interval = tuple[float, float]
"""95 %, lower and upper end."""


class Value(BaseModel):
    """Base: frozen, no unknown keys, no NaN; attribute docstrings become the descriptions of the JSON Schema."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=(), use_attribute_docstrings=True
    )


class Model(Value):
    """A model that was asked."""

    name: str
    folder: str
    digest: str
    """SHA-256 over the hashes of the folder's files."""
    precision: str


def agree(name: str, given: float | None, counted: float | None) -> None:
    """ValueError where a figure is not what the counts beside it give; None stands for "cannot be said"."""
    if (given is None) != (counted is None) or (given is not None and abs(given - counted) > 1e-9):  # type: ignore[operator]
        raise ValueError(f"{name} is {given}, but the counts give {counted}")
