"""What accuracy costs: F1 against time or bytes, with Pareto's front and the targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

from eval.pages.figure import BENIGN, FAINT, GOOD, INK, Picture, picture, plain_ticks, round_values
from eval.schema import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMED = 16
"""Characters of a name beside its point."""


@dataclass(frozen=True)
class Point:
    """One checkpoint: what it achieves, and at what cost."""

    number: int
    name: str
    f1: float
    interval: Interval | None
    cost: float
    cost_interval: Interval | None = None
    trusted: bool = True


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in one figure without losing in the other, by rising cost (Pareto's front)."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.f1)):
        if not best or point.f1 > best[-1].f1:
            best.append(point)
    return best


def pareto(
    points: Sequence[Point], title: str, axis_name: str, limit: float | None, f1_limit: float | None, more: str = ""
) -> Picture | None:
    """F1 against a cost (logarithmic), the front as a line, the targets dashed; None for fewer than two."""
    if len(points) < 2:
        return None
    best = front(points)
    f1s = [value for point in points for value in (point.f1, *(point.interval or ()))] + [f1_limit or points[0].f1]
    costs = [point.cost for point in points] + [limit or points[0].cost]
    bottom, top = min(f1s), max(f1s)
    room = max(top - bottom, 0.02) * 0.12
    box = (min(costs) / 1.5, max(costs) * 1.8, max(bottom - room, 0.0), min(top + room, 1.0))

    def draw(axes: list[Axes]) -> None:
        axis = axes[0]
        axis.set(xscale="log", xlim=box[:2], ylim=box[2:], xlabel=axis_name, ylabel="F1")
        plain_ticks(axis, "x", round_values(*box[:2]))
        _targets(axis, box, limit, f1_limit)
        line = [*best, Point(0, "", best[-1].f1, None, box[1])]
        costs_of = [point.cost for point in line]
        axis.step(costs_of, [point.f1 for point in line], where="post", color=BENIGN, linewidth=1.2, alpha=0.6)
        for point in points:
            _point(axis, point, BENIGN if point in best else FAINT)
        for point, (text, offset, side) in zip(points, labels(points, box), strict=True):
            axis.annotate(
                text, (point.cost, point.f1), xytext=offset, textcoords="offset points", ha=side, va="center",
                color=INK if point in best else FAINT, fontsize=7,
            )  # fmt: skip

    reached = ", ".join(f"{point.number}" for point in best)
    caption = f"On the front: number {reached} of the table. Dashed: the targets, met in the tinted corner.{more}"
    return picture(draw, title, caption, height=3.4)


def _targets(axis: Axes, box: tuple[float, float, float, float], limit: float | None, f1_limit: float | None) -> None:
    left, top = box[0], box[3]
    if limit is not None:
        axis.axvline(limit, color=GOOD, linewidth=1, linestyle=(0, (4, 2)))
    if f1_limit is not None:
        axis.axhline(f1_limit, color=GOOD, linewidth=1, linestyle=(0, (4, 2)))
    if limit is not None and f1_limit is not None:
        axis.fill_between([left, limit], f1_limit, top, color=GOOD, alpha=0.1, linewidth=0)


def _point(axis: Axes, point: Point, colour: str) -> None:
    low, high = point.interval or (point.f1, point.f1)
    left, right = point.cost_interval or (point.cost, point.cost)
    axis.plot([point.cost] * 2, [low, high], color=colour, linewidth=0.9, alpha=0.7)
    axis.plot([left, right], [point.f1] * 2, color=colour, linewidth=0.9, alpha=0.7)
    axis.plot(
        [point.cost], [point.f1], "o", color=colour, markersize=4.5, markerfacecolor=colour if point.trusted else "none"
    )


PLACES = ((-5, 8, "right"), (5, 8, "left"), (5, -8, "left"), (6, 0, "left"), (-6, 0, "right"), (-5, -8, "right"))
"""Above to the left first: no other point and no part of the front lies there."""
Label = tuple[str, tuple[float, float], str]


def labels(points: Sequence[Point], box: tuple[float, float, float, float]) -> list[Label]:
    """Text, offset and alignment beside each point: number and name where they cover nothing, else the number.

    Widths are estimated, in shares of the picture: good enough to keep words apart.
    """
    left, right, bottom, top = box
    at = [(log(point.cost / left) / log(right / left), (point.f1 - bottom) / (top - bottom or 1.0)) for point in points]
    dots = [(x - 0.02, x + 0.02, y - 0.04, y + 0.04) for x, y in at]
    taken: list[Area] = []
    found: list[Label] = []
    for index, (point, (x, y)) in enumerate(zip(points, at, strict=True)):
        others = [*dots[:index], *dots[index + 1 :], *taken]
        name = _plain(point.name)
        choices = [
            (text, (dx, dy), side) for text in (f"{point.number} {name}", str(point.number)) for dx, dy, side in PLACES
        ]
        for text, (dx, dy), side in choices:
            width, start = len(text) * 0.0145, x + dx / 300
            span = (start, start + width) if side == "left" else (start - width, start)
            area = (*span, y + dy / 200 - 0.022, y + dy / 200 + 0.022)
            if area[0] >= 0 and area[1] <= 1 and not any(_overlap(area, other) for other in others):
                break
        taken.append(area)
        found.append((text, (dx, dy), side))
    return found


Area = tuple[float, float, float, float]


def _overlap(one: Area, other: Area) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]


def _plain(name: str) -> str:
    """A foreign name as few plain characters: pictures know no others."""
    plain = "".join(character if character.isascii() and character.isprintable() else "?" for character in name)
    return plain if len(plain) <= NAMED else plain[: NAMED - 1] + "…"
