"""What each checkpoint would cost in service, what it saves, and the accuracy that the saving is paid with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError
from eval.pages.board import link
from eval.pages.costs_losses import Loss, losses
from eval.pages.runs import Run, Runs
from eval.schema.live_prices import Bill, Prices


@dataclass(frozen=True)
class Measured:
    """What a bill needs of a checkpoint."""

    milliseconds: float
    """Mean of a call, one thread."""
    memory_mb: float
    """Peak of a process of its own."""
    caution: str
    """Where the figures are from, or why they may not hold."""


@dataclass(frozen=True)
class Option:
    """One checkpoint on one set of texts."""

    name: str
    link: str
    precision: str | None
    measured: Measured | None
    """None: it was never timed, or its memory never measured."""
    bill: Bill | None
    saves: float | None
    """Against the baseline, a month."""
    losses: dict[str, Loss]
    """By figure, against the baseline; empty for the baseline itself."""
    why: str
    """Why the losses have no interval; empty where they have."""
    baseline: bool
    synthetic: bool


@dataclass(frozen=True)
class Table:
    """The options judged on the same texts."""

    split: str
    fingerprint: str
    rows: int
    options: list[Option]


def bill(milliseconds: float, memory_mb: float, prices: Prices) -> Bill:
    """Instances for the load, and their price; `milliseconds` of processor time a text, `memory_mb` of the process."""
    of_one = prices.cores * prices.busy * 1000 / milliseconds  # texts per second that an instance takes
    needed = math.ceil(prices.texts_per_second / of_one - 1e-9)
    instances = prices.instances or max(needed, prices.least_instances)
    taken_gb = (memory_mb + prices.other_memory_mb) / 1000
    memory_gb = prices.memory_mb / 1000 or taken_gb
    return Bill(
        instances=instances,
        memory_gb=memory_gb,
        carries=instances * of_one,
        enough=instances * of_one >= prices.texts_per_second and memory_gb >= taken_gb,
        cost=instances * (prices.cores * prices.price_per_core + memory_gb * prices.price_per_gb),
    )


def tables(runs: Runs, searched: Path, page: Path, prices: Prices, baseline: str | None = None) -> list[Table]:
    """One a set of texts with two checkpoints or more; the baseline is the one named, else the dearest.

    UserError: no checkpoint is called so.
    """
    names = {run.name for run in runs.newest}
    if baseline is not None and baseline not in names:
        raise UserError(f"no report is of {baseline!r}: name a baseline among {', '.join(sorted(names))}")
    found = []
    for texts in dict.fromkeys(run.texts for run in runs.newest):
        here = [run for run in runs.newest if run.texts == texts]
        if len(here) > 1:
            options = _options(here, runs, searched, page, prices, baseline)
            found.append(Table(texts[0], texts[1], here[0].report.rows, options))
    return found


def _options(
    here: Sequence[Run], runs: Runs, searched: Path, page: Path, prices: Prices, named: str | None
) -> list[Option]:
    known = [measured(run, runs.every) for run in here]
    bills = [None if one is None else bill(one.milliseconds, one.memory_mb, prices) for one in known]
    # Equal bills are common (the least number of instances): of those the slowest is the baseline.
    dearness = [
        (-1.0, 0.0) if of is None or one is None else (of.cost, one.milliseconds)
        for of, one in zip(bills, known, strict=True)
    ]
    chosen = next((index for index, run in enumerate(here) if run.name == named), None)
    first = dearness.index(max(dearness)) if chosen is None else chosen
    found = []
    for index, (run, one, of) in enumerate(zip(here, known, bills, strict=True)):
        lost, why = ({}, "") if index == first else losses(here[first], run, searched)
        paid = bills[first]
        option = Option(
            name=run.name,
            link=link(searched / run.folder, page),
            precision=run.report.precision,
            measured=one,
            bill=of,
            saves=None if of is None or paid is None else paid.cost - of.cost,
            losses=lost,
            why=why,
            baseline=index == first,
            synthetic=run.report.synthetic is not None,
        )
        found.append(option)
    return sorted(found, key=lambda one: (not one.baseline, one.bill is None, one.bill.cost if one.bill else 0.0))


def measured(run: Run, every: Sequence[Run]) -> Measured | None:
    """Time and memory of a checkpoint, from its newest other report where this one has none.

    Reports are of one checkpoint where name, precision and the bytes of every part agree.
    """
    for other in (run, *reversed([one for one in every if _identity(one) == _identity(run)])):
        latency, memory = other.report.latency, other.report.resources.memory_usage_mb
        if latency is None or memory is None:
            continue
        caution = "" if other is run else f"timed on {other.report.split}"
        if not latency.noise.trusted:
            caution += f"{', ' if caution else ''}noisy machine"
        return Measured(latency.mean_ms, memory, caution)
    return None


def _identity(run: Run) -> tuple[object, ...]:
    report = run.report
    return run.name, report.precision, sorted(report.resources.bytes_by_group.items())
