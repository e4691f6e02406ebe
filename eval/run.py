"""Judge one checkpoint: measure it on a split, write the report, print the verdict."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from core import cli
from core.errors import UserError
from core.folders import atomic_write, writable
from core.schema import Experiment

STATUSES = {"met": 0, "missed": 1, "undecided": 3}


def work(experiment: Experiment, arguments: argparse.Namespace | None = None) -> int:
    """Open, load, judge, write, print; the status says whether the targets are met, missed or undecided."""
    # Imported here so that --help and mistakes in the configuration do not wait for the model libraries.
    from core.pipeline import open_pipeline
    from eval.cards.measured import FIRST
    from eval.judged import judged, rows_of, shared_rows
    from eval.quote import command
    from eval.report import print_verdict, write_outcome

    if experiment.checkpoint is None:
        raise UserError("there is no checkpoint to judge: add checkpoint=FOLDER")
    split = experiment.evaluation.split
    folder = report_folder(experiment.output, experiment.checkpoint, split)
    writable(folder)
    pipeline = open_pipeline(experiment.checkpoint)
    corpus = rows_of(experiment)
    outcome = judged(experiment, pipeline, corpus, shared_rows(experiment, corpus))
    paths = write_outcome(outcome, folder)
    print_verdict(outcome.report)
    for path in (*paths, side_by_side(experiment.output, split)):
        print(path)
    if pipeline.described.get("kind") == "onnx" and split in FIRST:
        print(f"for eval.select and raxe-ce's registry: {command(experiment.checkpoint, folder.resolve().parent)}")
    return STATUSES[outcome.report.verdict]


def side_by_side(output: Path, split: str) -> Path:
    """Writes output/comparison-<split>.md, every report on this split, in the order of judging; returns its path."""
    from eval.report import comparison, read

    found = {}
    for folder in (output / "reports").glob(f"*-{split}"):
        if not (folder / "report.json").is_file():  # as eval.fidelity's, which is no report on one checkpoint
            continue
        try:
            report = read(folder)
        except UserError as error:  # an older run's; it must not take the one just made with it
            print(f"left out of the comparison: {error}", file=sys.stderr)
            continue
        if report.split == split:
            found[folder.name.removesuffix(f"-{split}")] = report
    table = output / f"comparison-{split}.md"
    atomic_write(table, comparison(dict(sorted(found.items(), key=lambda item: item[1].timestamp))))
    return table


def report_folder(output: Path, checkpoint: Path, split: str) -> Path:
    """Where the report on a checkpoint goes: output/reports/<checkpoint's name>-<split>."""
    return output / "reports" / f"{checkpoint.resolve().name}-{split}"


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="eval.run",
        purpose=(
            "Judge a checkpoint on a split: accuracy with intervals, latency, size and memory against the targets."
            " Writes report.json, report.md, report.html and the predictions and calls they rest on to"
            " <output>/reports/<checkpoint>-<split>/."
        ),
        sections=("checkpoint", "output", "seed", "data", "evaluation"),
        needs_checkpoint=True,
        statuses={
            0: "all targets met",
            1: "a target is missed",
            2: "could not judge",
            3: "no target is missed, but one is undecided or was not measured",
        },
        examples=[
            "python -m eval.run --config configs/quickstart.yaml checkpoint=artifacts/quickstart/student",
            "python -m eval.run --config configs/quickstart.yaml checkpoint=artifacts/quickstart/student-int8"
            " evaluation.split=test",
            "python -m eval.run --config configs/threats.yaml checkpoint=artifacts/threats/student-int8"
            " evaluation.split=ood_notinject evaluation.latency_calls=0",
        ],
    )


if __name__ == "__main__":
    main()
