"""How a checkpoint wants to be served: whether it reads decoded views, and whether a first layer decides before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from core.errors import UserError

Decode = Literal["beside", "instead"]
KEY = "serving"
"""In the manifest; left out where nothing is asked for."""


@dataclass(frozen=True)
class Serving:
    """The options of the pipeline, as the manifest states them."""

    decode: Decode | None = None
    """Whether the decoded view of a text is scored: `beside` the raw one, and the higher score counts, or `instead` of
    it, so that being encoded is no suspicion in itself."""
    decoded_limit: float = 0.5
    """Attack probability from which a decoded view is an attack; it is moved to 0.5 for consumers."""
    first_layer: str | None = None
    """The setting of the first layer, where one decides what it is sure of."""

    def to_manifest(self) -> dict[str, dict[str, Any]]:
        """What of it goes into the manifest."""
        return {} if self == Serving() else {KEY: asdict(self)}

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Serving:
        """What a manifest's fields ask for. UserError: an option that this code does not know, or of the wrong type."""
        stored = manifest.get(KEY) or {}
        try:
            found = cls(**stored)
            right = found.decode in (None, *get_args(Decode)) and 0 < found.decoded_limit < 1
            right &= found.first_layer is None or isinstance(found.first_layer, str)
        except TypeError:
            right = False
        if not right:
            known = ", ".join(field.name for field in fields(cls))
            raise UserError(
                f"the manifest asks to be served with {stored}, but the options are {known}: the manifest is damaged,"
                " or this code is older than the checkpoint"
            )
        return found
