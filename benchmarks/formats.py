"""The graphs of serving folders in turn, at fixed numbers of tokens: how much longer one takes than the first."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from core import cli
from core.errors import UserError

if TYPE_CHECKING:  # imported inside the functions, so that --help does not wait for the libraries
    import numpy as np
    from numpy.typing import NDArray

LENGTHS = (32, 64, 128)
LOADS, SEED = 5, 13


class Against(NamedTuple):
    """One graph beside the first, at one number of tokens."""

    tokens: int
    milliseconds: float
    """Median, of the calling thread's processor time."""
    value: float
    """How many times as long as the first it takes."""
    low: float
    high: float

    @property
    def verdict(self) -> str:
        return "faster" if self.high < 1 else "slower" if self.low > 1 else "cannot be told from it"

    def reaches(self, most: float) -> str:
        """Whether it takes at most `most` times as long; the whole interval must say so."""
        return "met" if self.high <= most else "missed" if self.low > most else "undecided"


def work(arguments: argparse.Namespace) -> int:
    """Race, print; 1 where `--most` is missed, 3 where it is undecided."""
    if len(arguments.folders) < 2 or min(arguments.rounds, arguments.calls, *arguments.tokens or ()) < 1:
        raise UserError("a race needs two folders or more, and --rounds, --calls and --tokens of at least 1")
    graphs = graphs_of(arguments.folders)
    longest, vocabulary = shared(arguments.folders)
    tokens = arguments.tokens or [length for length in LENGTHS if length <= longest] or [longest]
    if max(tokens) > longest:
        raise UserError(f"--tokens asks for {max(tokens)}, and a folder reads {longest} at most: name shorter lengths")
    from export import timing

    loaded = timing.loading(graphs, LOADS)
    spent = timing.race(graphs, tokens, arguments.rounds, arguments.calls, vocabulary, SEED)
    found = compare(spent, tokens)
    print("\n".join(sentences(found, graphs, loaded, arguments.most)))
    if arguments.most is None:
        return 0
    words = {one.reaches(arguments.most) for name in list(found)[1:] for one in found[name]}
    return 1 if "missed" in words else 3 if "undecided" in words else 0


def graphs_of(folders: Sequence[Path]) -> dict[str, bytes]:
    """By folder. UserError: a folder without a graph of ours, changed files, or one that is named twice."""
    from core import manifest
    from core.encoder import graph_path

    graphs = {}
    for folder in folders:
        manifest.read(folder)
        graphs[str(folder)] = graph_path(folder).read_bytes()
    if len(graphs) < len(folders):
        raise UserError("a folder is named twice; name each once")
    return graphs


def shared(folders: Sequence[Path]) -> tuple[int, int]:
    """How many tokens of a text all of them read, and how many different ones all of them know."""
    from core import manifest
    from core.tokenizer import TextTokenizer

    opened = [TextTokenizer.open(folder, manifest.read(folder).max_length) for folder in folders]
    return min(one.max_length for one in opened), min(one.size for one in opened)


def compare(spent: Mapping[str, NDArray[np.float64]], tokens: Sequence[int]) -> dict[str, list[Against]]:
    """spent: milliseconds of each graph, (lengths, rounds, calls), the first is the one that others stand beside."""
    import numpy as np

    from export.timing import ratio

    first = next(iter(spent.values()))
    return {
        name: [
            Against(length, float(np.median(times[place])), *ratio(first[place], times[place], SEED))
            for place, length in enumerate(tokens)
        ]
        for name, times in spent.items()
    }


def sentences(
    found: Mapping[str, Sequence[Against]],
    graphs: Mapping[str, bytes],
    loaded: Mapping[str, NDArray[np.float64]],
    most: float | None,
) -> list[str]:
    """For each graph its size and load, then its times; seconds and milliseconds are processor time."""
    import numpy as np

    lines = []
    for number, (name, rows) in enumerate(found.items()):
        lines.append(f"{name}: {len(graphs[name]) / 1e6:.2f} MB, opened in {np.median(loaded[name]):.3f} s")
        for one in rows:
            line = f"  {one.tokens} tokens: {one.milliseconds:.2f} ms"
            if number:
                line += f", {one.value:.3f} times the first ({one.low:.3f} to {one.high:.3f}): {one.verdict}"
            if number and most is not None:
                line += f"; at most {most:g} is {one.reaches(most)}"
            lines.append(line)
    return lines


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="serving folders, layout raxe-folder")
    parser.add_argument("--tokens", type=int, nargs="+", metavar="N", help="default 32 64 128, as far as all read")
    parser.add_argument("--rounds", type=int, default=6, metavar="N", help="sessions opened anew (default 6)")
    parser.add_argument("--calls", type=int, default=50, metavar="N", help="timed calls a round (default 50)")
    parser.add_argument("--most", type=float, metavar="X", help="times as long as the first that others may take")


def main() -> None:
    """The command line."""
    cli.run_on_files(
        work,
        module="benchmarks.formats",
        purpose=(
            "Time graphs of serving folders in turn, in one process and thread, one text of random tokens at a time,"
            " each beside the first: 95 % intervals, processor time of its thread. Memory: benchmarks.cold_start."
        ),
        declare=declare,
        examples=[
            "python -m benchmarks.formats artifacts/plain_64/student-int8 artifacts/plain_64/student-int4 --most 1.05",
            "python -m benchmarks.formats artifacts/threats/teacher-fp32 artifacts/threats/teacher-fp16 --tokens 128",
        ],
        statuses={0: "compared; --most is met", 1: "--most is missed", 3: "--most is undecided"},
    )


if __name__ == "__main__":
    main()
