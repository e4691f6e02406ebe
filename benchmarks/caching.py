"""Our caching of teacher embeddings against sentence-transformers' `encode` of the same teacher in FP16."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.command import declaration
from core import cli
from core.config import load
from core.schema import Experiment

if TYPE_CHECKING:  # imported inside the functions, so that --help does not wait for the libraries
    from benchmarks.page import Race
    from benchmarks.rounds import Timing

OURS, THEIRS = "ours", "theirs, FP16"
TARGET = 1.3  # of the roadmap


def work(arguments: argparse.Namespace) -> int:
    """Make the teacher, embed the texts on each side in turn, print, write."""
    experiment = load(arguments.config, arguments.overrides)
    from benchmarks.page import show_race, write

    race = measure(experiment, arguments.texts, arguments.rounds)
    show_race(race)
    if arguments.output:
        print(write(race, "caching", arguments.output))
    return 0 if race.met else 1


def measure(experiment: Experiment, texts: int, rounds: int) -> Race:
    """The race: ours, theirs in FP16, and theirs in the type that ours found the fastest, where that is another."""
    import torch

    from benchmarks.caching_sides import Ours, Theirs
    from benchmarks.page import Race, made_of, stamp
    from benchmarks.rounds import in_turn, ratio
    from benchmarks.subjects import make, quiet
    from core.rows import fingerprint

    quiet()
    with TemporaryDirectory() as name:
        subjects = make(experiment, texts, Path(name))
        rows, teacher = subjects.rows, subjects.teacher
        ours = Ours(teacher, rows.texts, experiment.targets.tokens_per_batch, Path(name) / "cache")
        theirs = Theirs(teacher, rows.texts, torch.float16, ours.tokens)
        sides: dict[str, Callable[[], Timing]] = {OURS: ours, THEIRS: theirs}
        running = str(ours.dtype).removeprefix("torch.")
        if ours.dtype != torch.float16:
            sides[f"theirs, {running}"] = Theirs(teacher, rows.texts, ours.dtype, ours.tokens)
        timed, noise = in_turn(sides, rounds)
        again = ours.again()
        cosines = (ours.embeddings * theirs.embeddings).sum(1)
    return Race(
        benchmark="caching",
        did=(
            f"{len(rows):,} texts of at most {experiment.teacher.max_length} tokens through the teacher; theirs:"
            " SentenceTransformer.encode."
        ),
        synthetic=stamp(experiment),
        sides=timed,
        ratios=tuple(ratio(timed[0], side, TARGET if side.name == THEIRS else None) for side in timed[1:]),
        noise=noise,
        notes=(
            f"Ours ran in {running}; cosine of its embeddings to theirs in FP16: mean {cosines.mean():.5f}, lowest"
            f" {cosines.min():.5f}.",
            f"A second run found all {len(rows):,} texts in the cache: {again:.2f} s, no pass of the teacher.",
        ),
        provenance=made_of(experiment, {"texts": fingerprint(subjects.rows)}),
    )


def main() -> None:
    """The command line."""
    cli.run_on_files(
        work,
        module="benchmarks.caching",
        purpose=(
            "Compute the teacher's embeddings: as distill.train caches them (batches of like length within a budget of"
            " tokens, the fastest correct type), and with SentenceTransformer.encode of the same teacher in FP16, its"
            " defaults otherwise; in turn, in one process. Where another type than FP16 is the fastest here, encode in"
            " that type is shown too. Then again from the full cache. Wants a quiet machine."
        ),
        declare=declaration(
            {
                "texts": (64, 1000, "texts, drawn from data.train"),
                "rounds": (2, 5, "repetitions of each side"),
            }
        ),
        examples=[
            "python -m benchmarks.caching --config configs/threats.yaml",
            "python -m benchmarks.caching --config configs/threats.yaml --output artifacts/benchmarks",
        ],
        statuses={0: "the target is met", 1: "the target is missed or undecided"},
    )


if __name__ == "__main__":
    main()
