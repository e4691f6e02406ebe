"""The main job: teacher, student, ONNX, and a verdict on each, from one configuration."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from core import cli
from core.config import resolved, write_resolved
from core.errors import UserError
from core.folders import writable
from core.provenance import provenance
from core.schema import Experiment
from distill import distributed

RESOLVED = "config.yaml"
PARTS = (RESOLVED, "training", "teacher", "student", "student-fp32", "student-int8", "reports")


def prepare(output: Path, resume: bool, overwrite: bool) -> None:
    """An output folder to work in; refuses to write over an earlier run unless told what to do with it."""
    writable(output)
    earlier = [name for name in PARTS if (output / name).exists()]
    if overwrite:
        for name in earlier:
            part = output / name
            shutil.rmtree(part) if part.is_dir() else part.unlink()
    elif earlier and not resume:
        raise UserError(
            f"{output} already holds a run ({', '.join(earlier)}): --resume goes on with it, --overwrite starts again,"
            " output=FOLDER writes elsewhere"
        )


def call(module: str, config: Path, checkpoint: Path, fine: Sequence[int] = (0,)) -> None:
    """Runs another entry point in a process of its own: clean memory and clock, and a command users can repeat."""
    command = [sys.executable, "-m", module, "--config", str(config), f"checkpoint={checkpoint}"]
    print("$", " ".join(["python", *command[1:]]), flush=True)
    status = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if status.returncode not in fine:
        raise UserError(f"{module} failed on {checkpoint} (exit status {status.returncode}); its message stands above")
    if module.startswith("export"):
        print(status.stdout, end="", flush=True)


def judge(experiment: Experiment, config: Path, folders: Sequence[Path]) -> None:
    """A validation report for each folder, and the table of them all."""
    # Imported here so that --help and mistakes in the configuration do not wait for the libraries.
    from eval.report import print_comparison, read
    from eval.run import report_folder

    for folder in folders:
        call("eval.run", config, folder, fine=(0, 1, 3))
    split = experiment.evaluation.split
    print_comparison({folder.name: read(report_folder(experiment.output, folder, split)) for folder in folders})
    print(f"reports: {experiment.output / 'reports'}\ntable:   {experiment.output / f'comparison-{split}.md'}")


def work(experiment: Experiment, arguments: argparse.Namespace) -> int:
    """The whole road once."""
    start = time.perf_counter()
    if experiment.evaluation.split != "validation":
        raise UserError(
            f"training is judged on validation, not on {experiment.evaluation.split}: leave evaluation.split out here"
            f" and read that set afterwards with eval.run … evaluation.split={experiment.evaluation.split}"
        )
    distributed.promised()  # a launcher that fell back to one process is refused before anything is overwritten
    if os.environ.get("RANK", "0") == "0":  # the others meet it in `begin`
        prepare(experiment.output, arguments.resume, arguments.overwrite)
    distributed.begin()

    # Imported here so that --help and refusals do not wait for the model libraries.
    from core.data import load
    from core.rows import Taxonomy
    from distill.stages import Run, make_student, make_teacher

    config = experiment.output / RESOLVED
    distributed.by_first(lambda: write_resolved(experiment, config))
    corpus = load(experiment.data, experiment.seed)
    print(corpus.describe(), flush=True)
    made_of = provenance(resolved(experiment), experiment.seed, corpus.fingerprints)
    run = Run(experiment, corpus, Taxonomy.of(corpus.splits["train"]), made_of, arguments.resume)
    teacher = make_teacher(run)
    student = make_student(run, teacher)
    first = distributed.rank() == 0
    distributed.end()  # the others leave memory and clock to the one that judges
    if not first:
        return 0
    call("export.run", config, student)
    served = [student.with_name(f"{student.name}-{precision}") for precision in experiment.export.formats]
    judge(experiment, config, [teacher, student, *served])
    print(f"done in {time.perf_counter() - start:.0f} s")
    return 0


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="distill.train",
        purpose=(
            "Fine-tune the teacher, distil it into the student, export FP32 and INT8 ONNX, and judge teacher, student"
            " and both exports on validation. Everything lands in the configuration's `output` folder."
        ),
        sections=("name", "seed", "output", "data", "teacher", "student", "losses", "targets", "heads", "export"),
        flags={
            "resume": "go on with an interrupted run: finished stages are kept, training continues where it was saved",
            "overwrite": "delete what an earlier run left in the output folder and start again",
        },
        examples=[
            "python -m distill.train --config configs/quickstart.yaml",
            "python -m distill.train --config configs/threats.yaml --resume",
            "torchrun --nproc_per_node 2 -m distill.train --config configs/quickstart.yaml",
            "python -m distill.train --config configs/quickstart.yaml output=artifacts/four student.layers=4",
        ],
        statuses={0: "done; the table says which targets are met"},
    )


if __name__ == "__main__":
    main()
