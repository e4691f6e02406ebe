"""The figures of the cost page that its reader may change."""

from __future__ import annotations

from dataclasses import dataclass

from eval.schema.live_prices import Prices


@dataclass(frozen=True)
class Input:
    """A figure that the reader may change."""

    name: str
    about: str
    value: float
    least: float
    most: float | None
    step: str


def inputs(prices: Prices) -> list[Input]:
    """All of them, explained as in the schema."""
    found = []
    for name, field in Prices.model_json_schema()["properties"].items():
        whole = field["type"] == "integer"
        # A browser takes the least as possible; a share of exactly 0 would divide by it.
        least = field.get("minimum", 0.01)
        value = getattr(prices, name)
        found.append(Input(name, field["description"], value, least, field.get("maximum"), "1" if whole else "any"))
    return found
