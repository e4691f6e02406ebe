"""What a report shows, as the cells of its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from eval.cells import NONE, NOT_MEASURED, Cells, amount, interval, share, with_interval
from eval.schema import Judgement, Report, Slice
from eval.targets import ABOVE, TARGETS

VERDICT_HEAD = ("Target", "Measured", "95 % interval", "Wanted", "Verdict", "Margin", "Why")
SLICE_HEAD = ("", "Attacks", "Recall", "95 % interval", "Benign", "FPR", "95 % interval")


def verdict_rows(report: Report) -> Cells:
    """The targets: name, measured, interval, wanted, verdict, margin, why."""
    return [
        (
            TARGETS[name],
            _beside(of),
            interval(of.interval, _form(of.limit)),
            wanted(name, of.limit),
            of.verdict,
            NONE if of.margin is None else f"{of.margin:+.{4 if of.limit < 1 else 2}f}",
            of.sentence,
        )
        for name, of in report.judgements.items()
    ]


def wanted(name: str, limit: float) -> str:
    """The rule of a target in signs."""
    sign = ">" if name in ABOVE else "<=" if name in ("size", "memory") else "<"
    return f"{sign} {limit:g}"


def accuracy_rows(report: Report) -> Cells:
    """Figure, value, 95 % interval where there is one."""
    right, near = report.accuracy, report.accuracy.intervals
    matrix = right.confusion_matrix
    names = {
        "F1": "binary_f1",
        "precision": "binary_precision",
        "recall": "binary_recall",
        "false-positive rate": "false_positive_rate",
        "false-negative rate": "false_negative_rate",
        "family F1 (macro, benign included)": "family_f1",
        "sub-family F1 (macro, at least 20 rows)": "subfamily_f1",
        "AUROC": "auroc",
        "average precision": "average_precision",
        "recall at 1 % FPR": "recall_at_1_percent_fpr",
        "expected calibration error": "expected_calibration_error",
        "Brier score": "brier_score",
    }
    rows = [(label, share(getattr(right, name)), interval(getattr(near, name))) for label, name in names.items()]
    return [*rows, ("TP / FP / TN / FN", f"{matrix.tp} / {matrix.fp} / {matrix.tn} / {matrix.fn}", "")]


def cost_rows(report: Report) -> Cells:
    """Latency and resources: figure, value."""
    return [*latency_rows(report), *resource_rows(report)]


def latency_rows(report: Report) -> Cells:
    """The headline latency, its stages, the load and the machine's own noise."""
    timed = report.latency
    if timed is None:
        return [("latency", NOT_MEASURED)]
    percentiles = (timed.p50_ms, timed.p90_ms, timed.p95_ms, timed.p99_ms)
    spread = (timed.mean_ms, timed.std_ms, timed.max_ms)
    rows = [
        ("P50 / P90 / P95 / P99, ms", " / ".join(amount(value) for value in percentiles)),
        ("95 % interval of P95, ms", interval(timed.intervals.p95_ms, amount)),
        ("mean / standard deviation / maximum, ms", " / ".join(amount(value) for value in spread)),
        *(
            (f"{stage}, P50 / P95 ms", f"{amount(of.p50_ms)} / {amount(of.p95_ms)}")
            for stage, of in timed.stages.items()
        ),
        ("measured on", f"{timed.calls} calls, batch 1, {timed.texts} distinct texts, {timed.threads} thread(s)"),
        ("the machine meanwhile", timed.noise.sentence),
    ]
    if (load := report.throughput) is not None:
        under = f"{load.texts_per_second:,.0f} texts/s, {load.callers} callers, P95 {amount(load.p95_ms)} ms"
        rows.append(("saturated throughput", under))
    return rows


def resource_rows(report: Report) -> Cells:
    """Bytes, memory, processor, cold start."""
    used = report.resources
    rows = [
        ("folder, MB", amount(used.model_size_mb)),
        *((f"  {group}, MB", amount(count / 1e6)) for group, count in used.bytes_by_group.items() if count),
        ("memory of a process, peak / steady, MB", f"{amount(used.memory_usage_mb)} / {amount(used.steady_memory_mb)}"),
        ("processor, % of one core", amount(used.cpu_usage_percent)),
    ]
    if (cold := used.cold_start) is not None:
        parts = f"import {cold.import_s:.2f}, open {cold.open_s:.2f}, first call {cold.first_call_s:.3f}"
        rows.append(("cold start, s", f"{cold.import_s + cold.open_s + cold.first_call_s:.2f} ({parts})"))
    return rows


def slice_rows(parts: Mapping[str, Slice]) -> Cells:
    """One row a slice; shares that cannot be said are dashes."""
    return [
        (
            name,
            str(of.counts.tp + of.counts.fn),
            share(of.recall, NONE),
            interval(of.recall_interval),
            str(of.counts.fp + of.counts.tn),
            share(of.false_positive_rate, NONE),
            interval(of.false_positive_rate_interval),
        )
        for name, of in parts.items()
        if of.counts.rows
    ]


def sensitivity_rows(report: Report) -> Cells:
    """Figure, all sources, lowest and highest with one source left out."""
    return [
        (name, share(getattr(report.accuracy, name)), f"{share(of.lowest)} without {of.lowest_without}",
         f"{share(of.highest)} without {of.highest_without}")
        for name, of in report.sensitivity.items()
    ]  # fmt: skip


def comparison_rows(reports: Sequence[Report]) -> Cells:
    """One row a figure, one column a report; the interval stands behind the figure."""

    def row(name: str, cells: Sequence[str]) -> tuple[str, ...]:
        return (name, *cells)

    def near(figure: str) -> list[str]:
        return [
            with_interval(getattr(report.accuracy, figure), getattr(report.accuracy.intervals, figure))
            for report in reports
        ]

    timed = [report.latency for report in reports]
    targets = dict.fromkeys(name for name in TARGETS for report in reports if name in report.judgements)
    words = {
        name: [report.judgements[name].verdict if name in report.judgements else NONE for report in reports]
        for name in targets
    }
    return [
        row("judged on", [f"{report.split}, {report.rows} rows" for report in reports]),
        row("runs as", [report.precision or NOT_MEASURED for report in reports]),
        row("F1", near("binary_f1")),
        row("precision", near("binary_precision")),
        row("recall", near("binary_recall")),
        row("FPR", near("false_positive_rate")),
        row("AUROC", near("auroc")),
        row("family F1", near("family_f1")),
        row("sub-family F1", near("subfamily_f1")),
        row("P50, ms", [amount(of.p50_ms if of else None) for of in timed]),
        row("P95, ms", [amount(of.p95_ms if of else None) for of in timed]),
        row("P99, ms", [amount(of.p99_ms if of else None) for of in timed]),
        row("size, MB", [amount(report.resources.model_size_mb) for report in reports]),
        row("memory, MB", [amount(report.resources.memory_usage_mb) for report in reports]),
        *(row(f"target: {name.replace('_', ' ')}", cells) for name, cells in words.items()),
    ]


def stamps(reports: Mapping[str, Report]) -> list[str]:
    """The synthetic sentence, if any report bears it, with the names it holds for."""
    stamped = [name for name, report in reports.items() if report.synthetic]
    sentence = next((report.synthetic for report in reports.values() if report.synthetic), None)
    return [f"{sentence} ({', '.join(stamped)})"] if sentence else []


def _form(limit: float) -> Callable[[float], str]:
    return share if limit < 1 else amount


def _beside(of: Judgement) -> str:
    """The value with enough digits that rounding never shows it on its limit when it is not."""
    if of.measured is None:
        return NOT_MEASURED
    shown = _form(of.limit)(of.measured)
    decimals = len(shown.partition(".")[2])
    while float(shown) == of.limit != of.measured and decimals < 12:
        decimals += 1
        shown = f"{of.measured:.{decimals}f}"
    return shown
