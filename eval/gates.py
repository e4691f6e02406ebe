"""The rules of the gate: pure checks of one report against the baseline that is served now."""

from __future__ import annotations

from core.errors import UserError
from eval.comparing.comparable import noisy, other_machine, same_rows
from eval.schema import Report
from eval.schema.gate import Check, Gate, Kind, Outcome, Rules
from eval.schema.race import Race

HIGHER_IS_BETTER = (
    "binary_f1",
    "binary_precision",
    "binary_recall",
    "family_f1",
    "subfamily_f1",
    "auroc",
    "average_precision",
    "recall_at_1_percent_fpr",
)
LOWER_IS_BETTER = ("false_positive_rate", "false_negative_rate", "expected_calibration_error", "brier_score")
RATIOS = ("latency.p50_ratio", "latency.p95_ratio")
ROUNDING = 1e-9  # 0.95 - 0.94 is a hair above 0.01 in floats, and exactly on a limit passes


def judge(report: Report, baseline: Report, rules: Rules, race: Race | None = None) -> Gate:
    """Every rule applied; the latency by the race of the two where there is one.

    UserError: the two were not judged on the same rows, or the race is of other models.
    """
    same_rows(report, baseline)
    return Gate(
        report=report.model_id,
        baseline=baseline.model_id,
        split=report.split,
        rows=report.rows,
        rules=rules,
        checks=(
            *rollback(report, rules),
            *accuracy(report, baseline, rules.max_drop),
            *size(report, rules),
            *(
                latency(report, baseline, rules.max_latency_ratio)
                if race is None
                else raced(race, report, baseline, rules.max_latency_ratio)
            ),
        ),
    )


def rollback(report: Report, rules: Rules) -> list[Check]:
    """The two rates above which a model in service is taken back, whatever the baseline does."""
    right = report.accuracy
    rates = (
        ("rollback.false_positive_rate", right.false_positive_rate, rules.max_fpr, "benign text"),
        ("rollback.false_negative_rate", right.false_negative_rate, rules.max_fnr, "attack"),
    )
    return [
        _unjudged(name, "rollback", limit, f"there is no {what} among the {report.rows} rows")
        if rate is None
        else _check(name, "rollback", rate, limit, f"{rate:.4f}; at most {limit:g}")
        for name, rate, limit, what in rates
    ]


def accuracy(report: Report, baseline: Report, max_drop: float) -> list[Check]:
    """How far every figure fell and every error rate rose; what neither set of figures says is left out."""
    checks = []
    for name in (*HIGHER_IS_BETTER, *LOWER_IS_BETTER):
        now, then = getattr(report.accuracy, name), getattr(baseline.accuracy, name)
        if now is None and then is None:
            continue
        if now is None or then is None:
            lacking = "report" if now is None else "baseline"
            checks.append(_unjudged(f"accuracy.{name}", "regression", max_drop, f"the {lacking} lacks it"))
            continue
        worse, verb = (then - now, "drop") if name in HIGHER_IS_BETTER else (now - then, "rise")
        sentence = f"{then:.4f} -> {now:.4f}, {now - then:+.4f}; may {verb} by {max_drop:g}"
        checks.append(_check(f"accuracy.{name}", "regression", worse, max_drop, sentence))
    return checks


def size(report: Report, rules: Rules) -> list[Check]:
    """Every byte of the folder against the budget."""
    limit = report.targets.model_size_mb if rules.max_size_mb is None else rules.max_size_mb
    if limit is None:
        return []
    shipped = report.resources.model_size_mb
    return [_check("size_mb", "regression", shipped, limit, f"{shipped:.3f} MB; at most {limit:g}")]


def latency(report: Report, baseline: Report, limit: float) -> list[Check]:
    """P50 and P95 over the baseline's, where two separate runs can be compared at all."""
    reason = other_machine(report, baseline) or noisy(report, baseline)
    if reason is not None or report.latency is None or baseline.latency is None:
        return [_unjudged(name, "regression", limit, reason or "not timed") for name in RATIOS]
    pairs = (
        (report.latency.p50_ms, baseline.latency.p50_ms),
        (report.latency.p95_ms, baseline.latency.p95_ms),
    )
    return [
        _check(
            name, "regression", now / then, limit, f"{now / then:.3f}, {then:.3f} -> {now:.3f} ms; at most {limit:g}"
        )
        for name, (now, then) in zip(RATIOS, pairs, strict=True)
    ]


def raced(race: Race, report: Report, baseline: Report, limit: float) -> list[Check]:
    """The same from interleaved calls, which neither another machine nor its noise can spoil.

    UserError: the race is not the report's model against the baseline's.
    """
    peer = next((peer for peer in race.peers if peer.model_id == report.model_id), None)
    if race.first.model_id != baseline.model_id or peer is None:
        peers = ", ".join(peer.model_id for peer in race.peers)
        raise UserError(
            f"the race is of {race.first.model_id} against {peers}, the gate is about {baseline.model_id} against"
            f" {report.model_id}: race these two, the baseline first"
        )
    return [
        _check(
            name, "regression", ratio.value, limit,
            f"{ratio.value:.3f} ({ratio.interval[0]:.3f} to {ratio.interval[1]:.3f}), interleaved; at most {limit:g}",
        )
        for name, ratio in zip(RATIOS, (peer.p50_ratio, peer.p95_ratio), strict=True)
    ]  # fmt: skip


def _check(name: str, kind: Kind, value: float, limit: float, sentence: str) -> Check:
    outcome: Outcome = "fail" if value > limit + ROUNDING else "pass"
    return Check(name=name, kind=kind, outcome=outcome, value=value, limit=limit, sentence=sentence)


def _unjudged(name: str, kind: Kind, limit: float, reason: str) -> Check:
    return Check(name=name, kind=kind, outcome="not judged", value=None, limit=limit, sentence=reason)
