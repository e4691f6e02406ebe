"""The main job: teacher, student, ONNX, and a verdict on each, from one configuration."""

from __future__ import annotations

import argparse
import time

from core import cli
from core.schema import Experiment
from distill import distributed
from distill.entry import FLAGS, RESOLVED, begin, call, judge

PARTS = ("teacher", "student", "student-fp32", "student-int8")


def work(experiment: Experiment, arguments: argparse.Namespace) -> int:
    """The whole road once; without a teacher where nothing asks for one."""
    start = time.perf_counter()
    run = begin(experiment, arguments, PARTS)

    # Imported here so that --help and refusals do not wait for the model libraries.
    from distill.stages import make_student, make_teacher

    teacher = make_teacher(run) if experiment.needs_teacher else None
    student = make_student(run, teacher)
    first = distributed.rank() == 0
    distributed.end()  # the others leave memory and clock to the one that judges
    if not first:
        return 0
    call("export.run", experiment.output / RESOLVED, student)
    names = [precision.replace("_", "-") for precision in experiment.export.formats]  # as export.run names them
    served = [student.with_name(f"{student.name}-{name}") for name in names]
    judge(experiment, [*([teacher] if teacher else []), student, *served])
    print(f"done in {time.perf_counter() - start:.0f} s")
    return 0


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="distill.train",
        purpose=(
            "Fine-tune the teacher, distil it into the student, export FP32 and INT8 ONNX, and judge teacher, student"
            " and both exports on validation. Everything lands in the configuration's `output` folder. With `losses` of"
            " labels alone and student.projection=false there is no teacher: plain fine-tuning."
        ),
        sections=(
            "name",
            "seed",
            "output",
            "data",
            "teacher",
            "student",
            "losses",
            "targets",
            "heads",
            "export",
            "evaluation",
        ),
        flags=FLAGS,
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
