"""Judge one checkpoint: measure it on a split, write the report, print the verdict."""

from __future__ import annotations

import argparse
from pathlib import Path

from core import cli
from core.config import resolved
from core.errors import UserError
from core.folders import atomic_write, writable
from core.provenance import provenance
from core.schema import Experiment
from eval.evaluator import evaluate
from eval.report import comparison, print_verdict, read, write

ALL_MET, MISSED = 0, 1


def work(experiment: Experiment, arguments: argparse.Namespace | None = None) -> int:
    """Open, load, judge, write, print; 0 when all targets are met, else 1."""
    # Imported here so that --help and mistakes in the configuration do not wait for the model libraries.
    from core.data import load
    from core.pipeline import open_pipeline

    if experiment.checkpoint is None:
        raise UserError("there is no checkpoint to judge: add checkpoint=FOLDER")
    split = experiment.evaluation.split
    folder = report_folder(experiment.output, experiment.checkpoint, split)
    writable(folder)
    pipeline = open_pipeline(experiment.checkpoint)
    corpus = load(experiment.data, experiment.seed, splits=(split,))
    report = evaluate(
        pipeline,
        corpus.splits[split],
        experiment.evaluation,
        split=split,
        synthetic=corpus.synthetic,
        provenance=provenance(resolved(experiment), experiment.seed, corpus.fingerprints),
        seed=experiment.seed,
    )
    paths = write(report, folder)
    print_verdict(report)
    for path in (*paths, side_by_side(experiment.output, split)):
        print(path)
    return ALL_MET if report.meets_targets.met else MISSED


def side_by_side(output: Path, split: str) -> Path:
    """Writes output/comparison-<split>.md, every report on this split, in the order of judging; returns its path."""
    read_all = {folder.name: read(folder) for folder in (output / "reports").glob(f"*-{split}")}
    ordered = sorted(read_all.items(), key=lambda item: item[1].timestamp)
    reports = {name.removesuffix(f"-{split}"): report for name, report in ordered}
    table = output / f"comparison-{split}.md"
    atomic_write(table, comparison(reports))
    return table


def report_folder(output: Path, checkpoint: Path, split: str) -> Path:
    """Where the report on a checkpoint goes: output/reports/<checkpoint's name>-<split>."""
    return output / "reports" / f"{checkpoint.resolve().name}-{split}"


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="eval.run",
        purpose="Judge a checkpoint on a split: accuracy, latency, size and memory against the targets.",
        sections=("checkpoint", "data", "evaluation"),
        needs_checkpoint=True,
        statuses={ALL_MET: "all targets met", MISSED: "a target is missed", 2: "could not judge"},
        examples=[
            "python -m eval.run --config configs/quickstart.yaml checkpoint=artifacts/quickstart/student",
            "python -m eval.run --config configs/quickstart.yaml checkpoint=artifacts/quickstart/student-int8"
            " evaluation.split=test",
        ],
    )


if __name__ == "__main__":
    main()
