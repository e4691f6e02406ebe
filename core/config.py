"""Read an experiment from YAML and overrides, strictly, and name every mistake at once with its line."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from core.document import ConfigError, Document
from core.folders import atomic_write
from core.mistakes import Loc, below, message_of, names_key, take_out, within, without_indices
from core.schema import Experiment

__all__ = ["ConfigError", "load", "resolved", "write_resolved"]


def load(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment in the YAML file `path`, changed by `key.sub=value` overrides; ConfigError if it is wrong."""
    document = Document(path)
    for override in overrides:
        document.override(override)
    experiment = _validate(document)
    if experiment is None or document.mistakes:
        lines = [line for _, line in sorted(document.mistakes, key=lambda mistake: mistake[0])]
        count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        raise ConfigError("\n".join([f"{count} in {path}{' with its overrides' if overrides else ''}:", *lines]))
    return experiment


def _validate(document: Document) -> Experiment | None:
    """The experiment, if need be a mended one; every mistake is noted.

    A section's own rule runs only once its keys are right. So what is wrong is taken out, deepest first, and the
    rest validated again, until nothing is wrong; what the taking out itself broke is not noted.
    """
    data, removed, noted = copy.deepcopy(document.raw), set[Loc](), set[tuple[Loc, str]]()
    for _ in range(20):
        try:
            return Experiment.model_validate_json(json.dumps(data), strict=True)
        except ValidationError as failure:
            errors = [(within(data, error), error) for error in failure.errors()]
        # A list whose items are wrong is also "too short": only the items are to blame.
        errors = [(loc, error) for loc, error in errors if not any(below(other, loc) for other, _ in errors)]
        for loc, error in errors:
            message = message_of(loc, error)
            broken = {other for other in removed if other == loc or below(other, loc)}
            if error["type"] == "value_error":
                broken = {other for other in broken if names_key(message, without_indices(other)[-1:])}
            if not broken and (loc, message) not in noted:
                noted.add((loc, message))
                document.note(loc, message)
        depth = max(len(loc) for loc, _ in errors)
        deepest = {loc: error for loc, error in errors if len(loc) == depth}
        for loc in sorted(deepest, reverse=True):  # list items from the last, so that the others keep their index
            removed |= take_out(data, loc, deepest[loc])
    return None


def resolved(experiment: Experiment) -> dict[str, Any]:
    """Every key with its value, defaults included, as JSON-able data."""
    return experiment.model_dump(mode="json")


def write_resolved(experiment: Experiment, path: Path) -> None:
    """Write `resolved` as YAML that `load` reads back to the same experiment."""
    atomic_write(path, yaml.safe_dump(resolved(experiment), sort_keys=False, allow_unicode=True, width=120))
