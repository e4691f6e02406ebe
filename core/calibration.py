"""Maps that turn raw scores into honest probabilities: one temperature, or straight pieces for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

STEP = 1e-3  # up, of the served log-odds at the threshold: in float32 a sigmoid cannot tell a hair below 0 from 0
GENTLE = 1e-3  # slope of a map outside its points


def no_lower(value: float) -> np.float32:
    """The least float32 that is no lower: a float32 score reaches one exactly where it reaches the other."""
    near = np.float32(value)
    return near if float(near) >= value else np.nextafter(near, np.float32(np.inf))


@dataclass(frozen=True)
class Temperature:
    """Logits times one slope for all classes (Guo et al. 2017): Platt's slope for several classes; keeps the ranks."""

    slope: float


@dataclass(frozen=True, eq=False)
class Piecewise:
    """A map in straight pieces for each class, in float32: values + slopes * (score - anchors) of the score's piece."""

    edges: NDArray[np.float32]  # (classes, edges): where one piece gives way to the next, rising; then infinite
    anchors: NDArray[np.float32]  # (classes, edges + 1)
    values: NDArray[np.float32]  # (classes, edges + 1)
    slopes: NDArray[np.float32]  # (classes, edges + 1)

    def __call__(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """(rows, classes) -> (rows, classes)."""
        piece = (scores[:, :, None] >= self.edges).sum(2)  # (rows, classes)
        column = np.arange(len(self.edges))
        anchors, values, slopes = (table[column, piece] for table in (self.anchors, self.values, self.slopes))
        return values + slopes * (scores - anchors)

    @classmethod
    def of(cls, curves: Sequence[Curve]) -> Piecewise:
        """One class for each curve."""
        most = max(len(curve.points) for curve in curves)
        edges = np.full((len(curves), most), np.inf, np.float32)
        tables = np.zeros((3, len(curves), most + 1), np.float32)
        for row, curve in enumerate(curves):
            edges[row, : len(curve.points)] = curve.points
            tables[:, row, : len(curve.points) + 1] = curve.pieces()
        return cls(edges, *tables)


@dataclass(frozen=True, eq=False)
class Curve:
    """One class of `Piecewise`: straight from `after` one point to `before` the next, a gentle slope outside."""

    points: NDArray[np.float32]  # (points,), rising strictly, at least one
    before: NDArray[np.float64]  # the value just below each point
    after: NDArray[np.float64]  # the value at each point and just above
    outside: float
    """Slope below the first point and above the last."""

    @classmethod
    def through(cls, points: NDArray[np.floating], values: NDArray[np.floating], outside: float) -> Curve:
        """Without steps. Points that float32 cannot tell apart count once, with the last value."""
        places = np.asarray(points, np.float32)
        last = np.append(places[1:] != places[:-1], True)
        wide = np.asarray(values, np.float64)[last]
        return cls(places[last], wide, wide, outside)

    def pieces(self) -> NDArray[np.float64]:
        """(3, points + 1): anchor, value and slope of each piece; anchored on its left, the first on its right."""
        points = self.points.astype(np.float64)
        inner = (self.before[1:] - self.after[:-1]) / np.diff(points)
        anchors, values = np.append(points[0], points), np.append(self.before[0], self.after)
        return np.stack([anchors, values, np.concatenate([[self.outside], inner, [self.outside]])])


def stepped(knots: Sequence[tuple[float, float]], at: float) -> Piecewise:
    """One class through `knots` (score, value), rising; what lies below the score `at`, whose value is 0, is lowered
    by a small step, so that the sign says on which side of it a score lies whatever rounding does.
    """
    points, values = np.array(knots, np.float64).T
    curve = Curve.through(points, values, GENTLE)
    before = curve.before - STEP * (curve.points <= np.float32(at))
    return Piecewise.of([replace(curve, before=before, after=curve.after - STEP * (curve.points < np.float32(at)))])


Calibration = Temperature | Piecewise
PARTS = ("edges", "anchors", "values", "slopes")


def to_arrays(calibration: Calibration) -> dict[str, NDArray[np.float32]]:
    """What is stored beside the raw heads."""
    if isinstance(calibration, Temperature):
        return {"slope": np.array([calibration.slope], np.float32)}
    return {part: getattr(calibration, part) for part in PARTS}


def from_arrays(arrays: Mapping[str, NDArray[np.float32]]) -> Calibration | None:
    """The inverse; None where the arrays hold no calibration."""
    if "slope" in arrays:
        return Temperature(float(arrays["slope"][0]))
    return Piecewise(*(arrays[part] for part in PARTS)) if "edges" in arrays else None
