"""From judged options to their table: figures of each, paired differences to the reference, notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.config import resolved
from core.provenance import provenance, timestamp
from core.schema import Experiment
from core.schema.options import Option
from eval.comparing.comparison import Side, compare
from eval.comparing.expectations import expectations, heads_mb
from eval.schema import Report
from eval.schema.comparison import Comparison, Peer
from eval.schema.options import Missing, Row, Table


@dataclass(frozen=True, eq=False)
class Judged:
    """One option with its report, wherever that came from."""

    option: Option
    side: Side
    folder: str
    taken_over: bool


def table(experiment: Experiment, judged: Sequence[Judged], missing: Sequence[Missing]) -> Table:
    """The whole table; differences are to the reference, if it was judged and another option was."""
    sides = {of.option.name: of.side for of in judged}
    reference = experiment.options.reference if experiment.options.reference in sides else None
    others = [side for name, side in sides.items() if name != reference]
    comparison = compare(sides[reference], others) if reference and others else None
    first, labels = judged[0].side.report, judged[0].side.kept.rows.labels
    return Table(
        timestamp=timestamp(),
        split=first.split,
        texts=len(labels),
        attacks=int((labels == 1).sum()),
        synthetic=first.synthetic,
        reference=reference,
        rows=rows(judged, comparison),
        missing=tuple(missing),
        notes=tuple(notes(experiment, judged, comparison)),
        provenance=provenance(resolved(experiment), experiment.seed, first.provenance.get("fingerprints") or {}),
    )


def notes(experiment: Experiment, judged: Sequence[Judged], comparison: Comparison | None) -> list[str]:
    """What a reader must know before believing a figure, a sentence each."""
    found, asked = list[str](), experiment.options.reference
    if judged[0].side.report.split == "validation":
        found.append("Validation chose every threshold, and the best checkpoints: the figures flatter; test says more.")
    if asked and asked not in {of.option.name for of in judged}:
        found.append(f"The reference, {asked}, is not in the table: there are no paired differences.")
    if doubted := [of.option.name for of in judged if not _quiet(of.side.report)]:
        found.append(f"The machine was too noisy for the milliseconds of: {'; '.join(doubted)}.")
    timed = comparison.peers if comparison and experiment.evaluation.latency_calls else ()
    reasons = dict.fromkeys(peer.latency_reason for peer in timed)
    found += [f"Some P95s have no ratio: {reason}." for reason in reasons if reason]
    known = [of.side.report.provenance.get("git") or {} for of in judged]
    if len(commits := dict.fromkeys(str(git.get("commit"))[:8] for git in known)) > 1:
        found.append(f"The rows were judged at several commits: {', '.join(commits)}.")
    if any(git.get("dirty") for git in known):
        found.append("Some rows were judged with uncommitted changes: their commit does not repeat them.")
    if any(one.p95_ms for of in judged for one in of.option.estimates):
        machine = judged[0].side.report.hardware
        found.append(f"Estimates of P95 name other machines or none; measured on {machine.cpu}, {machine.cores} cores.")
    return found


def _quiet(report: Report) -> bool:
    return report.latency is None or report.latency.noise.trusted


def rows(judged: Sequence[Judged], comparison: Comparison | None) -> tuple[Row, ...]:
    """The table's rows, in the order given; comparison: of the reference with all others."""
    peers = {peer.name: peer for peer in comparison.peers} if comparison else {}
    return tuple(_row(of, peers.get(of.option.name)) for of in judged)


def _row(of: Judged, peer: Peer | None) -> Row:
    report, option = of.side.report, of.option
    right, timed, used = report.accuracy, report.latency, report.resources
    return Row(
        name=option.name,
        checkpoint=str(option.checkpoint),
        model_id=report.model_id,
        build=option.build,
        stand_in=option.stand_in,
        report=of.folder,
        taken_over=of.taken_over,
        precision=report.precision,
        binary_f1=right.binary_f1,
        binary_f1_interval=right.intervals.binary_f1,
        binary_recall=right.binary_recall,
        false_positive_rate=right.false_positive_rate,
        false_positive_rate_interval=right.intervals.false_positive_rate,
        mean_ms=timed.mean_ms if timed else None,
        p50_ms=timed.p50_ms if timed else None,
        p95_ms=timed.p95_ms if timed else None,
        p95_interval=timed.intervals.p95_ms if timed else None,
        trusted=timed.noise.trusted if timed else None,
        model_size_mb=used.model_size_mb,
        heads_mb=heads_mb(used),
        memory_usage_mb=used.memory_usage_mb,
        targets=report.meets_targets,
        changes=peer.figures if peer else {},
        p95_ratio=peer.latency.p95_normalised if peer and peer.latency else None,
        expectations=tuple(found for one in option.estimates for found in expectations(one, report)),
    )
