"""Labels that somebody gave after the calls, by the ids of the calls."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import UserError
from core.served import Label


class Given(BaseModel):
    """A label that somebody gave after the call: a line of the labels' file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    label: Label


def read_labels(path: Path) -> dict[str, int]:
    """Labels by the id of the call. UserError: unreadable, or one call with two labels."""
    found: dict[str, int] = {}
    try:
        with path.open("rb") as stream:
            for number, raw in enumerate(stream, 1):
                if not raw.strip():
                    continue
                one = Given.model_validate_json(raw)
                if found.setdefault(one.id, one.label) != one.label:
                    raise UserError(f"{path}, line {number}: the call {one.id} has two labels; keep the right one")
    except OSError as error:
        raise UserError(f"cannot read the labels {path}: {error.strerror}") from error
    except ValidationError as error:
        raise UserError(
            f'{path}, line {number}: {error.errors()[0]["msg"]}; a line is {{"id": "…", "label": 0}} (or 1)'
        ) from error
    return found
