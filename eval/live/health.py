"""A tally of served predictions, judged: figures, alarms, drift; pure arithmetic."""

from __future__ import annotations

from core.errors import UserError
from eval.live import rates
from eval.live.alarms import check
from eval.live.drift import Compared, drift
from eval.live.evaluated import Evaluated
from eval.live.notes import notes
from eval.live.read import LogReader
from eval.live.tally import Tally
from eval.live.windows import moment
from eval.metrics import wilson
from eval.schema.live import Alarms, Check, Drift, Health, Latencies, Share

FEW = 200  # answered lines below which a drift says little


def health(
    tally: Tally, log: LogReader, alarms: Alarms, timestamp: str, evaluated: Evaluated | None = None, seed: int = 0
) -> Health:
    """Everything the log says. UserError: it holds no wanted line."""
    if not tally.lines or log.model is None:
        raise UserError(f"{log.path} holds no line of the wanted model and time: is anything served at all?")
    false_positives = rates.false_positive_rate(tally.counts, seed).share
    false_negatives = rates.false_negative_rate(tally.counts, seed).share
    share, drifts = _drifts(tally, evaluated, seed)
    return Health(
        timestamp=timestamp,
        log=log.path.name,
        model=log.model,
        digests=tuple(sorted(log.digests)),
        reference=evaluated.report.model_id if evaluated else None,
        first=moment(tally.first),
        last=moment(tally.last),
        lines=tally.lines,
        failed=tally.failed,
        flagged=int(tally.counts[rates.FLAGGED].sum()),
        labelled=int(tally.counts[:, 1:].sum()),
        unreadable=log.unreadable,
        latency=latencies(tally),
        false_positive_rate=false_positives,
        false_negative_rate=false_negatives,
        attack_share=share,
        drift=drifts,
        checks=(
            latency_check(tally, alarms),
            _rate_check("false_positive_rate", false_positives, alarms),
            _rate_check("false_negative_rate", false_negatives, alarms),
            error_check(tally, alarms),
            *(_drift_check(one, tally, alarms) for one in drifts),
        ),
        windows=tally.windows.values(),
        window_seconds=tally.windows.seconds,
        notes=tuple(notes(tally, log, evaluated, share)),
    )


def latencies(tally: Tally) -> Latencies | None:
    """Percentiles of answered calls."""
    if not tally.answered:
        return None
    sketch = tally.latency
    found = {f"p{percent}_ms": sketch.quantile(percent / 100) for percent in (50, 90, 95, 99)}
    return Latencies(calls=len(sketch), max_ms=tally.slowest_ms, relative_error=sketch.relative_error, **found)


def latency_check(tally: Tally, alarms: Alarms) -> Check:
    """P95 of answered calls."""
    if not tally.answered:
        return check("p95_ms", None, None, alarms.p95_ms, "no call was answered")
    sentence = f"{tally.answered:,} answered calls, taken as independent; within {tally.latency.relative_error:.1%}"
    return check("p95_ms", tally.latency.quantile(0.95), tally.latency.interval(0.95), alarms.p95_ms, sentence)


def error_check(tally: Tally, alarms: Alarms) -> Check:
    """Share of failed calls."""
    sentence = f"{tally.failed:,} of {tally.lines:,} calls failed"
    interval = wilson(tally.failed, tally.lines)
    return check("error_rate", tally.failed / tally.lines, interval, alarms.error_rate, sentence)


def _rate_check(name: str, share: Share, alarms: Alarms) -> Check:
    return check(name, share.value, share.interval, getattr(alarms, name), share.sentence)


def _drift_check(one: Drift, tally: Tally, alarms: Alarms) -> Check:
    name = {"scores": "score_drift", "lengths": "length_drift"}[one.what]
    few = "" if tally.answered >= FEW else "; few lines"
    sentence = f"population stability index; largest gap of shares {one.distance:.3f}, at {one.at:.4g}{few}"
    return check(name, one.psi, one.psi_interval, alarms.psi, sentence)


def _drifts(tally: Tally, evaluated: Evaluated | None, seed: int) -> tuple[float | None, tuple[Drift, ...]]:
    if evaluated is None or tally.scores is None or tally.lengths is None or not tally.answered:
        return None, ()
    scores = Compared("scores", tally.scores, evaluated.scores)
    return drift(scores, Compared("lengths", tally.lengths, evaluated.lengths), seed)
