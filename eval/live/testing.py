"""The A/B test of two logs: every figure's difference, the rollback rule, and the lines still needed."""

from __future__ import annotations

from eval.live import ab_notes, differences, rates, sizes
from eval.live.alarms import check
from eval.live.differences import Difference
from eval.live.health import latencies
from eval.live.side import Side
from eval.live.windows import moment
from eval.schema.live import Alarm, Check
from eval.schema.live_ab import ABTest, Arm, Compared, Effects, Limits, Name, Verdict
from eval.significance import holm

SIGNIFICANT = 0.05
QUANTILES: dict[Name, float] = {"p50_ms": 0.5, "p95_ms": 0.95}


def compare(
    a: Side, b: Side, timestamp: str, effects: Effects, limits: Limits, power: float = 0.8, seed: int = 0
) -> ABTest:
    """B against A. UserError: an effect or a power that no number of lines can serve."""
    found: dict[Name, Difference | None] = {
        name: differences.of_quantiles(a.tally.latency, b.tally.latency, share, seed)
        if a.tally.answered and b.tally.answered
        else None
        for name, share in QUANTILES.items()
    }
    found |= {name: differences.of_rates(a.rates[name], b.rates[name], seed) for name in a.rates}
    measured = [name for name, one in found.items() if one is not None]
    adjusted = dict(zip(measured, holm([one.p_value for one in found.values() if one is not None]), strict=True))
    return ABTest(
        timestamp=timestamp,
        a=_arm(a),
        b=_arm(b),
        power=power,
        compared=tuple(
            _compared(name, one, adjusted.get(name), a, b, getattr(effects, name), power) for name, one in found.items()
        ),
        rollback=rollback(b, limits),
        notes=tuple(ab_notes.notes(a, b)),
    )


def rollback(b: Side, limits: Limits) -> tuple[Check, ...]:
    """The rollback rule on B's own rates."""
    names: tuple[Name, ...] = ("false_positive_rate", "false_negative_rate")
    alarms = {name: Alarm(warning=None, critical=getattr(limits, name)) for name in names}
    shares = {name: b.rates[name].share for name in names}
    return tuple(check(name, one.value, one.interval, alarms[name], one.sentence) for name, one in shares.items())


def _compared(
    name: Name, one: Difference | None, adjusted: float | None, a: Side, b: Side, effect: float, power: float
) -> Compared:
    before, after = (_figure(name, side) for side in (a, b))
    size = effect * before if name in QUANTILES and before is not None else effect
    needed = None if one is None or before is None else _needed(name, one, a, b, size, power)
    lines = min(a.tally.lines, b.tally.lines)
    verdict: Verdict = "not measured"
    if one is not None and adjusted is not None:
        shown = adjusted <= SIGNIFICANT
        verdict = "no difference shown" if not shown else "worse" if one.value > 0 else "better"
    return Compared(
        name=name,
        before=before,
        after=after,
        difference=one.value if one else None,
        interval=one.interval if one else None,
        p_value=one.p_value if one else None,
        adjusted_p_value=adjusted,
        verdict=verdict,
        effect=size if needed is not None else None,
        lines_needed=needed,
        lines_missing=None if needed is None else max(needed - lines, 0),
    )


def _figure(name: Name, side: Side) -> float | None:
    if name in QUANTILES:
        return side.tally.latency.quantile(QUANTILES[name]) if side.tally.answered else None
    return side.rates[name].share.value


def _needed(name: Name, one: Difference, a: Side, b: Side, effect: float, power: float) -> int:
    """Lines in each log, at the present shares of answered, labelled and benign lines."""
    lines = (a.tally.lines, b.tally.lines)
    if name in QUANTILES or a.rates[name].draws is not None or b.rates[name].draws is not None:
        return sizes.of_spread(one.variances, lines, effect, power)
    first, second = a.rates[name], b.rates[name]
    rows = sizes.of_shares(first.share.value or 0.0, effect, power)
    return -(-rows * sum(lines) // (first.total + second.total))  # rounded up


def _arm(side: Side) -> Arm:
    tally, log = side.tally, side.log
    return Arm(
        log=log.path.name,
        model=str(log.model),
        digests=tuple(sorted(log.digests)),
        first=moment(tally.first),
        last=moment(tally.last),
        lines=tally.lines,
        failed=tally.failed,
        flagged=int(tally.counts[rates.FLAGGED].sum()),
        labelled=int(tally.counts[:, 1:].sum()),
        latency=latencies(tally),
        false_positive_rate=side.rates["false_positive_rate"].share,
        false_negative_rate=side.rates["false_negative_rate"].share,
    )
