"""Whether a report that lies there already says what judging again would: same model, texts, settings, machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.schema import Evaluation
from core.serving import KEY
from eval import kept
from eval.comparing.comparison import Side
from eval.report import read
from eval.schema import Hardware, Report

ALWAYS = ("bootstrap_repeats", "targets")
WHERE_TIMED = ("latency_calls", "warmup_calls", "threads")


def take_over(
    name: str, folder: Path, files: Mapping[str, str], asked: Mapping[str, Any], evaluation: Evaluation
) -> Side | str:
    """The report with what was kept beside it, or why it is not taken over.

    files: the checkpoint's `Manifest.hashes`; asked: the provenance that judging it now would have.
    """
    try:
        report, evidence = read(folder), kept.read(folder)
    except UserError as error:
        return str(error)
    if evaluation.latency_calls and evidence.calls is None:
        return "it was not timed"
    return stale(report, files, asked, evaluation) or Side(name, report, evidence)


def stale(report: Report, files: Mapping[str, str], asked: Mapping[str, Any], evaluation: Evaluation) -> str | None:
    """Why the report is not what would be found now; None where it is."""
    known, split = report.provenance, evaluation.split
    had = dict(known.get("files") or {})
    if had.pop(KEY, None) != files.get(KEY):
        return "the checkpoint is served otherwise now"
    if had != {name: digest for name, digest in files.items() if name != KEY}:
        return "the checkpoint has other bytes now"
    if report.split != split or (known.get("fingerprints") or {}).get(split) != asked["fingerprints"][split]:
        return "it is on other texts"
    settings = (known.get("config") or {}).get("evaluation") or {}
    wanted = evaluation.model_dump(mode="json")
    compared = (*ALWAYS, *(WHERE_TIMED if evaluation.latency_calls else ()))
    if other := [key for key in compared if settings.get(key) != wanted[key]]:
        return f"it was judged with another evaluation.{other[0]}"
    if known.get("seed") != asked["seed"]:
        return "it was judged with another seed"
    if known.get("versions") != asked["versions"]:
        return "the libraries have other versions now"
    here = Hardware.model_validate(asked["hardware"])
    if evaluation.latency_calls and _machine(report.hardware) != _machine(here):
        return "it was timed on another machine"
    return None


def _machine(hardware: Hardware) -> tuple[str, int, tuple[str, ...]]:
    """What makes milliseconds comparable; memory and the system's version do not count."""
    return hardware.cpu, hardware.cores, hardware.cpu_flags
