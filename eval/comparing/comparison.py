"""Checkpoints compared on the same texts: paired differences, tests and flips, from what was kept of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from core.provenance import timestamp
from eval import slices
from eval.comparing.alignment import alignment, reordered
from eval.comparing.changes import flips, parts
from eval.comparing.comparable import noisy, other_machine
from eval.comparing.paired import adjusted, changes, only_right, tests
from eval.comparing.separate_runs import latency_ratio
from eval.figures import DECISION, decisions, figures, resampled
from eval.kept import Kept, Predictions
from eval.metrics import bootstrap, confusion
from eval.schema import Report
from eval.schema.comparison import Change, Comparison, LatencyRatio, McNemar, Peer, Ratio, Those

REPEATS = 2000


@dataclass(frozen=True, eq=False)
class Side:
    """One report with what it rests on, under the name it is shown by."""

    name: str
    report: Report
    kept: Kept


@dataclass(frozen=True, eq=False)
class Judged:
    """One side's predictions in the baseline's order of rows."""

    side: Side
    place: NDArray[np.int64]  # (n,): where each row of the baseline stands in this side's
    predictions: Predictions


def compare(baseline: Side, others: Sequence[Side], repeats: int = REPEATS) -> Comparison:
    """Each of `others` against the baseline, under the same resamples of the baseline's near-duplicate clusters.

    UserError: another report is on other texts, labels or families, or what was kept is not a report's own.
    """
    rows, seed = baseline.kept.rows, seed_of(baseline.report)
    judged = [_in_order(baseline, side) for side in (baseline, *others)]
    weights = bootstrap.resample(rows.labels, rows.groups, repeats, seed)
    found = [(figures(rows, of.predictions), resampled(rows, of.predictions, weights)) for of in judged]
    said = [decisions(of.predictions) for of in judged]
    changed = adjusted([changes(*found[0], *of) for of in found[1:]])
    tested = adjusted([tests(rows.labels, said[0], of) for of in said[1:]])
    return Comparison(
        timestamp=timestamp(),
        splits=tuple(dict.fromkeys(of.side.report.split for of in judged)),
        rows=len(rows),
        attacks=int((rows.labels == 1).sum()),
        benign=int((rows.labels == 0).sum()),
        clusters=len(set(rows.groups)),
        repeats=repeats,
        seed=seed,
        synthetic=next((of.side.report.synthetic for of in judged if of.side.report.synthetic), None),
        baseline=baseline.name,
        baseline_model_id=baseline.report.model_id,
        peers=tuple(
            _peer(judged[0], of, change, test, repeats, seed)
            for of, change, test in zip(judged[1:], changed, tested, strict=True)
        ),
    )


def seed_of(report: Report) -> int:
    """The seed that the report was judged with; 0 where it names none."""
    seed = report.provenance.get("seed")
    return seed if isinstance(seed, int) and seed >= 0 else 0


def _in_order(baseline: Side, side: Side) -> Judged:
    own = side.kept
    if confusion(own.rows.labels, decisions(own.predictions)) != side.report.accuracy.confusion_matrix:
        raise UserError(
            f"the predictions kept beside {side.name} are not those that its report was made of: see what differs with"
            " `python -m eval.recompute`, or judge again with eval.run"
        )
    names, splits = (baseline.name, side.name), (baseline.report.split, side.report.split)
    place = alignment(baseline.kept.rows, side.kept.rows, names, splits)
    return Judged(side, place, reordered(side.kept.predictions, place))


def _peer(
    baseline: Judged, peer: Judged, changed: dict[str, Change], tested: dict[Those, McNemar], repeats: int, seed: int
) -> Peer:
    rows, said = baseline.side.kept.rows, [decisions(of.predictions) for of in (baseline, peer)]
    gained, lost = only_right(rows.labels, said[1], said[0]), only_right(rows.labels, said[0], said[1])
    families, sources = ([of(rows, decided) for decided in said] for of in (slices.by_family, slices.by_source))
    probability = [of.predictions.attack_probability for of in (baseline, peer)]
    ratio, reason = _latency(baseline, peer, repeats, seed)
    before, after = (of.side.report.resources.model_size_mb for of in (baseline, peer))
    return Peer(
        name=peer.side.name,
        model_id=peer.side.report.model_id,
        figures=changed,
        mcnemar=tested,
        flips=flips(rows, probability[0], probability[1], DECISION),
        per_family=parts(rows.families, families[0], families[1], gained, lost),
        per_source=parts(rows.sources, sources[0], sources[1], gained, lost),
        size_mb=Ratio(before=before, after=after, ratio=after / before if before else None, interval=None),
        latency=ratio,
        latency_reason=reason,
    )


def _latency(baseline: Judged, peer: Judged, repeats: int, seed: int) -> tuple[LatencyRatio | None, str | None]:
    """The ratio, or why there is none."""
    reports, calls = (peer.side.report, baseline.side.report), (baseline.side.kept.calls, peer.side.kept.calls)
    if reason := other_machine(*reports):
        return None, reason
    if calls[0] is None or calls[1] is None:
        lacking = baseline if calls[0] is None else peer
        return None, f"the timed calls of {lacking.side.name} were not kept"
    return latency_ratio(calls[0], calls[1], peer.place, repeats, seed, noisy(*reports)), None
