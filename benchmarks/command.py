"""The arguments that the benchmarks share: an experiment, sizes that are whole numbers, a folder for the result."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

CONFIG_HELP = "the experiment whose data, teacher, student and targets are used, a YAML file"
OVERRIDE_HELP = "replaces a value of the file; `python -m distill.train --help` explains the keys"
OUTPUT_HELP = "also write the result here as JSON, for example in artifacts/benchmarks; default: print only"


def declaration(sizes: Mapping[str, tuple[int, int, str]]) -> Callable[[argparse.ArgumentParser], None]:
    """What `core.cli.run_on_files` is to declare; sizes: name -> (smallest, default, help)."""

    def declare(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--config", type=Path, required=True, metavar="FILE", help=CONFIG_HELP)
        for name, (smallest, default, text) in sizes.items():
            told = f"{text} (default {default}, at least {smallest})"
            parser.add_argument(f"--{name}", type=_at_least(smallest), default=default, metavar="N", help=told)
        parser.add_argument("--output", type=Path, metavar="FOLDER", help=OUTPUT_HELP)
        parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help=OVERRIDE_HELP)

    return declare


def _at_least(smallest: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not text.isdecimal() or int(text) < smallest:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least {smallest}")
        return int(text)

    return whole
