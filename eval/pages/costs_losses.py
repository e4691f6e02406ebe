"""How much less accurate a cheaper checkpoint is, from the predictions kept beside both reports."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError
from eval import kept
from eval.comparing.alignment import alignment, reordered
from eval.figures import decisions
from eval.kept import Kept
from eval.metrics import bootstrap, percentile_interval
from eval.pages.runs import Run
from eval.schema import Interval

FIGURES = {"binary_f1": "F1", "binary_recall": "Recall", "false_positive_rate": "FPR"}
REPEATS, SEED = 500, 13


@dataclass(frozen=True)
class Loss:
    """One figure of a checkpoint minus the baseline's."""

    difference: float
    interval: Interval | None
    """95 %, paired; None: the predictions of one of the two were not kept."""
    worse: bool
    """Whether the whole interval is on the bad side."""


def losses(baseline: Run, run: Run, searched: Path) -> tuple[dict[str, Loss], str]:
    """Each figure that both have, and why there is no interval (empty: there is)."""
    try:
        intervals, why = _paired(_kept(searched / baseline.folder), _kept(searched / run.folder)), ""
    except UserError as error:
        intervals, why = {}, str(error)
    found = {}
    for name in FIGURES:
        then, now = (getattr(one.report.accuracy, name) for one in (baseline, run))
        if then is None or now is None:
            continue
        interval = intervals.get(name)
        bad = None if interval is None else (interval[0] if name == "false_positive_rate" else -interval[1])
        found[name] = Loss(now - then, interval, bad is not None and bad > 0)
    return found, why


def _paired(baseline: Kept, other: Kept) -> dict[str, Interval]:
    """Intervals of the differences, both under the same resamples of near-duplicate clusters."""
    rows = baseline.rows
    place = alignment(rows, other.rows, ("the baseline", "the option"), ("", ""))
    said = [decisions(baseline.predictions), decisions(reordered(other.predictions, place))]
    weights = bootstrap.resample(rows.labels, rows.groups, REPEATS, SEED)
    functions = {
        "binary_f1": bootstrap.f1,
        "binary_recall": bootstrap.recall,
        "false_positive_rate": bootstrap.false_positive_rate,
    }
    found = {}
    for name, function in functions.items():
        then, now = (function(rows.labels, one, weights) for one in said)
        found[name] = percentile_interval(now - then)
    return found


@functools.lru_cache(maxsize=2)
def _kept(folder: Path) -> Kept:
    """The baseline's predictions meet every option's."""
    return kept.read(folder)
