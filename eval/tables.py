"""What a report shows: the cells of its tables in sensible digits, and tables as Markdown or on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from eval.schema import Report

Cells = Sequence[tuple[str, ...]]
VERDICT_HEAD = ("Target", "Measured", "Wanted", "Verdict")
NOT_MEASURED = "not measured"
STYLES = {"met": "green", "missed": "bold red", NOT_MEASURED: "dim"}


def verdict_rows(report: Report) -> Cells:
    """The four targets: name, measured, wanted, met or missed."""
    limits, met, right = report.targets, report.meets_targets, report.accuracy
    p95, size = report.latency.p95_ms if report.latency else None, report.resources.model_size_mb
    rate = right.false_positive_rate
    return [
        ("latency, P95 ms", _beside(p95, limits.p95_ms), f"< {limits.p95_ms:g}", _word(met.latency)),
        ("size, MB", _beside(size, limits.model_size_mb), f"<= {limits.model_size_mb:g}", _word(met.size)),
        ("accuracy, F1", _beside(right.binary_f1, limits.binary_f1), f"> {limits.binary_f1:g}", _word(met.accuracy)),
        ("FPR", _beside(rate, limits.false_positive_rate), f"< {limits.false_positive_rate:g}", _word(met.fpr)),
    ]


def accuracy_rows(report: Report) -> Cells:
    """Figure, value, 95 % interval where there is one."""
    right, near = report.accuracy, report.accuracy.intervals
    matrix = right.confusion_matrix
    return [
        ("F1", share(right.binary_f1), ""),
        ("precision", share(right.binary_precision), _interval(near.precision)),
        ("recall", share(right.binary_recall), _interval(near.recall)),
        ("false-positive rate", share(right.false_positive_rate), _interval(near.false_positive_rate)),
        ("false-negative rate", share(right.false_negative_rate), _interval(near.false_negative_rate)),
        ("family F1 (macro, benign included)", share(right.family_f1), ""),
        ("sub-family F1 (macro, at least 20 rows)", share(right.subfamily_f1), ""),
        ("AUROC", share(right.auroc), ""),
        ("average precision", share(right.average_precision), ""),
        ("expected calibration error", share(right.expected_calibration_error), ""),
        ("TP / FP / TN / FN", f"{matrix.tp} / {matrix.fp} / {matrix.tn} / {matrix.fn}", ""),
    ]


def cost_rows(report: Report) -> Cells:
    """Latency and resources: figure, value."""
    rows: Cells = [("latency", NOT_MEASURED)]
    if timed := report.latency:
        percentiles = (timed.p50_ms, timed.p90_ms, timed.p95_ms, timed.p99_ms)
        spread = (timed.mean_ms, timed.std_ms, timed.max_ms)
        rows = [
            ("P50 / P90 / P95 / P99, ms", " / ".join(amount(value) for value in percentiles)),
            ("mean / standard deviation / maximum, ms", " / ".join(amount(value) for value in spread)),
            ("measured on", f"{timed.calls} calls, batch 1, {timed.texts} distinct texts, {timed.threads} thread(s)"),
        ]
    used = report.resources
    return [
        *rows,
        ("folder, MB", amount(used.model_size_mb)),
        ("peak memory of a process, MB", amount(used.memory_usage_mb)),
        ("processor, % of one core", amount(used.cpu_usage_percent)),
    ]


def comparison_rows(reports: Sequence[Report]) -> Cells:
    """One row a figure, one column a report."""

    def row(name: str, cells: Sequence[str]) -> tuple[str, ...]:
        return (name, *cells)

    latencies = [report.latency for report in reports]
    targets = [[cells[3] for cells in verdict_rows(report)] for report in reports]
    names = ("target: latency", "target: size", "target: accuracy", "target: FPR")
    return [
        row("judged on", [f"{report.split}, {report.rows} rows" for report in reports]),
        row("runs as", [report.precision or NOT_MEASURED for report in reports]),
        row("F1", [share(report.accuracy.binary_f1) for report in reports]),
        row("precision", [share(report.accuracy.binary_precision) for report in reports]),
        row("recall", [share(report.accuracy.binary_recall) for report in reports]),
        row("FPR", [share(report.accuracy.false_positive_rate) for report in reports]),
        row("family F1", [share(report.accuracy.family_f1) for report in reports]),
        row("sub-family F1", [share(report.accuracy.subfamily_f1) for report in reports]),
        row("P50, ms", [amount(timed.p50_ms if timed else None) for timed in latencies]),
        row("P95, ms", [amount(timed.p95_ms if timed else None) for timed in latencies]),
        row("P99, ms", [amount(timed.p99_ms if timed else None) for timed in latencies]),
        row("size, MB", [amount(report.resources.model_size_mb) for report in reports]),
        row("memory, MB", [amount(report.resources.memory_usage_mb) for report in reports]),
        *(row(name, words) for name, words in zip(names, zip(*targets, strict=True), strict=True)),
    ]


def stamps(reports: Mapping[str, Report]) -> list[str]:
    """The synthetic sentence, if any report bears it, with the names it holds for."""
    stamped = [name for name, report in reports.items() if report.synthetic]
    sentence = next((report.synthetic for report in reports.values() if report.synthetic), None)
    return [f"{sentence} ({', '.join(stamped)})"] if sentence else []


def share(value: float | None) -> str:
    """A figure between 0 and 1: four decimals."""
    return NOT_MEASURED if value is None else f"{value:.4f}"


def amount(value: float | None) -> str:
    """Milliseconds, megabytes, percent: three digits, more only before the point."""
    if value is None:
        return NOT_MEASURED
    decimals = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f}"


def markdown_table(head: Sequence[str], rows: Cells) -> str:
    """A Markdown table; pipes and line breaks in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(escape(cell) for cell in line) + " |" for line in lines)


def escape(cell: str) -> str:
    """Text that stays inside one Markdown cell."""
    return " ".join(cell.replace("\\", "\\\\").replace("|", "\\|").split())


def print_table(head: Sequence[str], rows: Cells, above: Sequence[str], console: Console | None = None) -> None:
    """A table on the terminal; no markup is read out of names."""
    console = console or Console()
    for line in above:
        console.print(Text(line, style="bold yellow"))
    table = Table()
    for name in head:
        table.add_column(Text(name))
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    console.print(table)


def _beside(value: float | None, limit: float) -> str:
    """The value with enough digits that rounding never shows it on its limit when it is not."""
    if value is None:
        return NOT_MEASURED
    shown = share(value) if limit < 1 else amount(value)
    decimals = len(shown.partition(".")[2])
    while float(shown) == limit != value and decimals < 12:
        decimals += 1
        shown = f"{value:.{decimals}f}"
    return shown


def _word(met: bool | None) -> str:
    return NOT_MEASURED if met is None else "met" if met else "missed"


def _interval(bounds: tuple[float, float]) -> str:
    return f"{share(bounds[0])} to {share(bounds[1])}"
