"""What all sections share: strictness and the limits on numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Rate = Annotated[float, Field(gt=0.0, lt=1.0)]
Weight = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Base of every section: frozen, no unknown keys, attribute docstrings become the help text."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


def named(path: Path) -> Path:
    if not path.name:  # "" would silently mean the working directory
        raise ValueError("an empty path; name a folder")
    return path


NamedPath = Annotated[Path, AfterValidator(named)]
