"""The verdict as cards: each target with where its figure and its interval lie beside the limit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from eval.pages.words import beside
from eval.schema import Judgement, Report, Word
from eval.targets import ABOVE, TARGETS

MARKS: dict[Word, str] = {"met": "✓", "missed": "✗", "undecided": "?", "not measured": "–"}
ORDER: tuple[Word, ...] = ("missed", "undecided", "not measured", "met")
UNITS = {"latency": "ms", "latency_p50": "ms", "latency_p99": "ms", "size": "MB", "memory": "MB"}
EXACT = ("size", "memory")
"""At most, where the others must stay strictly on their side of the limit."""


@dataclass(frozen=True)
class Scale:
    """Where things lie between the left (0) and the right end (100) of a card's line."""

    measured: float
    limit: float
    low: float
    high: float


@dataclass(frozen=True)
class Card:
    """One target."""

    name: str
    unit: str
    wanted: str
    measured: str
    interval: str
    margin: str
    word: Word
    mark: str
    style: str
    sentence: str
    above: bool
    scale: Scale | None


def cards(report: Report) -> list[Card]:
    """One card a target: what was missed first, then what is open, then what was met."""
    made = [card(name, judgement) for name, judgement in report.judgements.items()]
    return sorted(made, key=lambda one: ORDER.index(one.word))


def card(name: str, judgement: Judgement) -> Card:
    """The words and the scale of one target."""
    unit, above, limit = UNITS.get(name, ""), name in ABOVE, judgement.limit
    sign = "≤" if name in EXACT else ">" if above else "<"
    near, margin = judgement.interval, judgement.margin
    return Card(
        name=title(name),
        unit=unit,
        wanted=f"{sign} {limit:g} {unit}".rstrip(),
        measured=beside(judgement.measured, limit, unit),
        interval=f"{beside(near[0], limit, unit)} to {beside(near[1], limit, unit)}" if near else "",
        margin="" if margin is None else f"{'+' if margin >= 0 else '−'}{beside(abs(margin), 0.0, unit)}",
        word=judgement.verdict,
        mark=MARKS[judgement.verdict],
        style=judgement.verdict.replace(" ", "-"),
        sentence=judgement.sentence,
        above=above,
        scale=None if judgement.measured is None else _scale(judgement.measured, limit, near),
    )


def _scale(measured: float, limit: float, interval: tuple[float, float] | None) -> Scale:
    """A line that holds the limit, the figure and its interval with some room at both ends."""
    low, high = interval or (measured, measured)
    least, most = min(measured, limit, low), max(measured, limit, high)
    room = max(most - least, abs(limit) * 0.05, 1e-9) * 0.15

    def place(value: float) -> float:
        return round(100 * (value - least + room) / (most - least + 2 * room), 2)

    return Scale(place(measured), place(limit), place(low), place(high))


def headline(report: Report) -> str:
    """All targets in a sentence."""
    words = Counter(judgement.verdict for judgement in report.judgements.values())
    total = len(report.judgements)
    match report.verdict:
        case "met":
            return f"All {total} targets are met, each by the whole of its interval."
        case "missed":
            return f"{words['missed']} of {total} targets {'are' if words['missed'] > 1 else 'is'} missed."
    if not total:
        return "No target was set, so there is nothing to decide."
    return f"No target is missed, but {total - words['met']} of {total} are not proved."


def sentences(report: Report) -> list[str]:
    """Which targets stand where, a sentence a verdict."""
    names: dict[Word, list[str]] = {word: [] for word in ORDER}
    for name, judgement in report.judgements.items():
        names[judgement.verdict].append(title(name))
    return [f"{word.capitalize()}: {', '.join(found)}." for word, found in names.items() if found]


def title(name: str) -> str:
    """A target's name without its unit."""
    return TARGETS.get(name, name).removesuffix(f", {UNITS.get(name, '')}")
