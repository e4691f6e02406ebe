"""Peak memory of a short `distill.train` with the experiment's teacher and student, in a process of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.command import declaration
from core import cli
from core.config import load
from core.errors import UserError
from core.schema import Experiment

if TYPE_CHECKING:  # imported inside the functions, so that --help does not wait for the libraries
    from benchmarks.memory_page import Footprint

TARGET_GB = 6.0  # of the roadmap
UNTIMED = ("evaluation.latency_calls=0", "evaluation.grid_seconds=0", "evaluation.throughput_seconds=0")
# After few steps a student may round badly; its files are thrown away.
LENIENT = ("export.parity.min_cosine=1.0e-6", "export.parity.max_flip_rate=1.0")

# In few steps a teacher grown from MiniLM would stay what the student begins as, which distill.train refuses.
BOLD = "teacher.training.learning_rate=1.0e-3"


def work(arguments: argparse.Namespace) -> int:
    """Train, print, write."""
    experiment = load(arguments.config, arguments.overrides)
    from benchmarks.memory_page import show_footprint
    from benchmarks.page import write

    footprint = measure(experiment, arguments.config, arguments.overrides, arguments.rows)
    show_footprint(footprint)
    if arguments.output:
        print(write(footprint, "memory", arguments.output))
    return 0 if footprint.verdict == "met" else 1


def measure(experiment: Experiment, config: Path, overrides: Sequence[str], rows: int) -> Footprint:
    """Runs `distill.train` on so many rows a split, into a folder that is thrown away; times no model.

    UserError: it failed.
    """
    from benchmarks.memory_page import Footprint
    from benchmarks.page import made_of, stamp
    from benchmarks.watching import watch

    with TemporaryDirectory() as name:
        own = [f"output={name}/run", f"targets.cache_dir={name}/cache", f"data.max_rows={rows}", *UNTIMED, *LENIENT]
        if experiment.teacher.training:
            own.append(BOLD)
        held = watch([sys.executable, "-m", "distill.train", "--config", str(config), *overrides, *own])
    if held.status:
        raise UserError(f"distill.train failed (exit status {held.status}); its message stands above")
    student = experiment.student
    return Footprint(
        did=(
            f"distill.train on {rows:,} rows a split: {teacher_of(experiment)}, student"
            f" {student.layers}x{student.hidden_size} at {student.max_length}; export and verdicts included."
        ),
        synthetic=stamp(experiment),
        held=held,
        target_gb=TARGET_GB,
        provenance=made_of(experiment, {}),
    )


def teacher_of(experiment: Experiment) -> str:
    teacher = experiment.teacher
    if not experiment.needs_teacher:
        return "no teacher"
    shape = f"{teacher.layers}x{teacher.hidden_size}" if teacher.origin == "grown" else teacher.name_or_path
    return f"teacher {shape} at {teacher.max_length} tokens"


def main() -> None:
    """The command line."""
    cli.run_on_files(
        work,
        module="benchmarks.memory",
        purpose=(
            "Run distill.train on few rows, from the teacher's fine-tuning to the verdicts, in a process of its own,"
            " and tell the most memory that it held: the first batches are the longest, so a short run shows the peak"
            " of a long one as soon as one batch of full length is among them. Nothing is kept of the run."
        ),
        declare=declaration({"rows": (256, 1000, "training rows, and validation rows, of the run")}),
        examples=[
            "python -m benchmarks.memory --config configs/threats.yaml",
            "python -m benchmarks.memory --config configs/threats.yaml student.max_length=256 teacher.max_length=256",
        ],
        statuses={0: "the target is met", 1: "the target is missed"},
    )


if __name__ == "__main__":
    main()
