"""Reports: rendering, writing, reading and printing them, each apart from measuring."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from core.errors import UserError
from core.folders import atomic_write
from eval import cells, kept, tables
from eval.schema import VERSION, Report

if TYPE_CHECKING:
    from eval.evaluator import Outcome  # the measuring libraries are not needed to read a report

JSON, MARKDOWN, HTML = "report.json", "report.md", "report.html"


def to_json(report: Report) -> str:
    """The whole report, unrounded."""
    return json.dumps(report.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def to_markdown(report: Report) -> str:
    """The report as a page: the stamp, the verdict, then what it rests on."""
    sections = {
        f"Verdict: {report.verdict}": cells.markdown_table(tables.VERDICT_HEAD, tables.verdict_rows(report)),
        "Notes": "\n".join(f"- {cells.escape(note)}" for note in report.notes),
        "Accuracy": cells.markdown_table(("Figure", "Value", "95 % interval"), tables.accuracy_rows(report)),
        "Latency and resources": cells.markdown_table(("Figure", "Value"), tables.cost_rows(report)),
        "Families": cells.markdown_table(tables.SLICE_HEAD, tables.slice_rows(report.per_family)),
        "Sources": cells.markdown_table(tables.SLICE_HEAD, tables.slice_rows(report.per_source)),
        "Length in characters": cells.markdown_table(tables.SLICE_HEAD, tables.slice_rows(report.per_length_bucket)),
        "Script": cells.markdown_table(tables.SLICE_HEAD, tables.slice_rows(report.per_script)),
        "One source left out": cells.markdown_table(
            ("Figure", "All", "Lowest", "Highest"), tables.sensitivity_rows(report)
        ),
        "Hardware": cells.markdown_table(("Part", "Value"), hardware_rows(report)),
        "Provenance": cells.markdown_table(("Part", "Value"), origin_rows(report)),
    }
    if not report.notes:
        del sections["Notes"]
    if not report.sensitivity:
        del sections["One source left out"]
    blocks = [f"# {cells.escape(report.model_id)}"]
    if report.synthetic:
        blocks.append(f"> **{report.synthetic}**")
    blocks.append(f"Judged on {report.rows} rows of the {report.split} split, {report.timestamp}.")
    return "\n\n".join(blocks + [f"## {name}\n\n{body}" for name, body in sections.items()]) + "\n"


def hardware_rows(report: Report) -> cells.Cells:
    """The machine: part, value."""
    machine = report.hardware
    return [
        ("Processor", machine.cpu),
        ("Cores", str(machine.cores)),
        ("Memory", f"{machine.memory_gb:g} GB"),
        ("System", machine.os),
        ("CPU flags", " ".join(machine.cpu_flags)),
    ]


def origin_rows(report: Report) -> cells.Cells:
    """What was measured on what: part, value."""
    known = report.provenance
    git, versions = known.get("git") or {}, known.get("versions") or {}
    dirty = " with uncommitted changes" if git.get("dirty") else ""
    rows = [
        ("Configuration, SHA-256", str(known.get("config_hash", "unknown"))),
        *((f"Data: {name}", str(value)) for name, value in (known.get("fingerprints") or {}).items()),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version)),
        ("Seed", str(known.get("seed", "unknown"))),
        ("Commit", f"{git.get('commit') or 'not a checkout'}{dirty}"),
        ("Command", " ".join(known.get("command") or ())),
    ]
    if (point := report.threshold) is not None:
        chosen = f"{point.rule}: {point.value:.4f} of the raw head, on {point.rows} {point.split} rows"
        rows.append(("Threshold", f"{chosen} (F1 {point.f1:.4f}, FPR {point.false_positive_rate:.4f})"))
        rows.append(("Threshold's rows", point.fingerprint))
    if (shared := report.overlap) is not None:
        same = f"{shared.exact} exact, {shared.near} near, {shared.same_group} of the same group"
        rows.append(("Shared with training", f"{same}; of {shared.training_rows} training rows"))
    return rows


def write(report: Report, folder: Path) -> tuple[Path, ...]:
    """Write report.json and report.md into the folder, each whole or not at all; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    as_json, as_markdown = folder / JSON, folder / MARKDOWN
    atomic_write(as_markdown, to_markdown(report))
    atomic_write(as_json, to_json(report))
    return as_json, as_markdown


def write_outcome(outcome: Outcome, folder: Path) -> tuple[Path, ...]:
    """Write everything: the kept predictions and calls, then report.html, report.md and report.json over them."""
    from eval.html import to_html  # matplotlib and jinja2 only where a page is made

    folder.mkdir(parents=True, exist_ok=True)
    evidence = kept.write(outcome.kept, folder)
    page = folder / HTML
    atomic_write(page, to_html(outcome.report, outcome.kept))
    return (*write(outcome.report, folder), page, *evidence)


def read(path: Path) -> Report:
    """Read a report.json, or the one in a folder.

    UserError: missing, not JSON, of another schema version, or figures that disagree.
    """
    file = path / JSON if path.is_dir() else path
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read the report {file}: {error.strerror}; `python -m eval.run` writes one") from error
    except ValueError as error:
        raise UserError(f"{file} cannot be trusted as a report: not JSON ({error})") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != VERSION:
        raise UserError(
            f"{file} has schema version {version}, this code reads {VERSION}: judge again with `python -m eval.run`"
        )
    try:
        return Report.model_validate_json(json.dumps(content))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, found['loc'])) or 'report'}: {found['msg'].removeprefix('Value error, ')}"
            for found in error.errors()
        )
        raise UserError(f"{file} cannot be trusted as a report: {problems}") from error


def comparison(reports: Mapping[str, Report]) -> str:
    """Side by side in Markdown, one column a checkpoint; stamped above when any of them is synthetic."""
    above = "".join(f"> **{cells.escape(stamp)}**\n\n" for stamp in tables.stamps(reports))
    return above + cells.markdown_table(("", *reports), tables.comparison_rows(list(reports.values()))) + "\n"


def print_comparison(reports: Mapping[str, Report], console: Console | None = None) -> None:
    """The same table on the terminal."""
    rows = tables.comparison_rows(list(reports.values()))
    cells.print_table(("", *reports), rows, tables.stamps(reports), console)


def print_verdict(report: Report, console: Console | None = None) -> None:
    """The targets on the terminal, stamped when synthetic; below them why, and what to know before believing them."""
    console = console or Console()
    rows = tables.verdict_rows(report)
    short = [row[:5] for row in rows]
    cells.print_table(tables.VERDICT_HEAD[:5], short, [report.synthetic] if report.synthetic else [], console)
    for line in (*(f"{row[0]}: {row[6]}" for row in rows), *report.notes):
        console.print(Text(f"- {line}"))
