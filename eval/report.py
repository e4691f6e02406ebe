"""Reports: rendering, writing, reading and printing them, each apart from measuring."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from core.errors import UserError
from core.folders import atomic_write
from eval import tables
from eval.schema import Report


def to_json(report: Report) -> str:
    """The whole report, unrounded."""
    return json.dumps(report.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def to_markdown(report: Report) -> str:
    """The report as a page: the stamp, the verdict, then what it rests on."""
    families = [(name, str(of.rows), tables.share(of.recall)) for name, of in report.per_family.items()]
    buckets = [
        (name, *(str(count) for count in (of.rows, of.tp, of.fp, of.tn, of.fn)))
        for name, of in report.per_length_bucket.items()
    ]
    sections = {
        "Verdict": tables.markdown_table(tables.VERDICT_HEAD, tables.verdict_rows(report)),
        "Accuracy": tables.markdown_table(("Figure", "Value", "95 % interval"), tables.accuracy_rows(report)),
        "Latency and resources": tables.markdown_table(("Figure", "Value"), tables.cost_rows(report)),
        "Families": tables.markdown_table(("Family", "Rows", "Decided rightly"), families),
        "Length": tables.markdown_table(("Characters", "Rows", "TP", "FP", "TN", "FN"), buckets),
        "Hardware": tables.markdown_table(("Part", "Value"), _hardware(report)),
        "Provenance": tables.markdown_table(("Part", "Value"), _origin(report)),
    }
    blocks = [f"# {tables.escape(report.model_id)}"]
    if report.synthetic:
        blocks.append(f"> **{report.synthetic}**")
    blocks.append(f"Judged on {report.rows} rows of the {report.split} split, {report.timestamp}.")
    return "\n\n".join(blocks + [f"## {name}\n\n{body}" for name, body in sections.items()]) + "\n"


def _hardware(report: Report) -> tables.Cells:
    machine = report.hardware
    return [
        ("Processor", machine.cpu),
        ("Cores", str(machine.cores)),
        ("Memory", f"{machine.memory_gb:g} GB"),
        ("System", machine.os),
        ("CPU flags", " ".join(machine.cpu_flags)),
    ]


def _origin(report: Report) -> tables.Cells:
    known = report.provenance
    git, versions = known.get("git") or {}, known.get("versions") or {}
    dirty = " with uncommitted changes" if git.get("dirty") else ""
    return [
        ("Configuration, SHA-256", str(known.get("config_hash", "unknown"))),
        *((f"Data: {name}", str(value)) for name, value in (known.get("fingerprints") or {}).items()),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version)),
        ("Seed", str(known.get("seed", "unknown"))),
        ("Commit", f"{git.get('commit') or 'not a checkout'}{dirty}"),
        ("Command", " ".join(known.get("command") or ())),
    ]


def write(report: Report, folder: Path) -> tuple[Path, Path]:
    """Write report.json and report.md into the folder, each whole or not at all; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    as_json, as_markdown = folder / "report.json", folder / "report.md"
    atomic_write(as_markdown, to_markdown(report))
    atomic_write(as_json, to_json(report))
    return as_json, as_markdown


def read(path: Path) -> Report:
    """Read a report.json, or the one in a folder. UserError: missing, not JSON, or figures that disagree."""
    file = path / "report.json" if path.is_dir() else path
    try:
        return Report.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read the report {file}: {error.strerror}; `python -m eval.run` writes one") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, found['loc'])) or 'report'}: {found['msg'].removeprefix('Value error, ')}"
            for found in error.errors()
        )
        raise UserError(f"{file} cannot be trusted as a report: {problems}") from error


def comparison(reports: Mapping[str, Report]) -> str:
    """Side by side in Markdown, one column a checkpoint; stamped above when any of them is synthetic."""
    above = "".join(f"> **{tables.escape(stamp)}**\n\n" for stamp in tables.stamps(reports))
    return above + tables.markdown_table(("", *reports), tables.comparison_rows(list(reports.values()))) + "\n"


def print_comparison(reports: Mapping[str, Report], console: Console | None = None) -> None:
    """The same table on the terminal."""
    rows = tables.comparison_rows(list(reports.values()))
    tables.print_table(("", *reports), rows, tables.stamps(reports), console)


def print_verdict(report: Report, console: Console | None = None) -> None:
    """The four targets on the terminal, stamped when synthetic."""
    above = [report.synthetic] if report.synthetic else []
    tables.print_table(tables.VERDICT_HEAD, tables.verdict_rows(report), above, console)
