"""Figures of a live model against their two levels, with the whole interval where it is to be sure."""

from __future__ import annotations

from eval.schema import Interval
from eval.schema.live import Alarm, Check, Level


def check(name: str, value: float | None, interval: Interval | None, alarm: Alarm, sentence: str) -> Check:
    """One figure judged."""
    return Check(
        name=name, value=value, interval=interval, alarm=alarm, level=level(value, interval, alarm), sentence=sentence
    )


def level(value: float | None, interval: Interval | None, alarm: Alarm) -> Level:
    """critical: the whole interval lies above the critical level.

    warning: the whole interval lies above the warning level, or the figure above the critical one without proof.
    ok: the whole interval is at most the first level. undecided: anything else.
    """
    if value is None or interval is None:
        return "not measured"
    if interval[0] > alarm.critical:
        return "critical"
    if value > alarm.critical or (alarm.warning is not None and interval[0] > alarm.warning):
        return "warning"
    first = alarm.critical if alarm.warning is None else alarm.warning
    return "ok" if interval[1] <= first else "undecided"
