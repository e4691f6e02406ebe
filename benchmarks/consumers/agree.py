"""Ask a real consumer, in an interpreter of its own, and our pipeline about the same validation texts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.elsewhere import answers
from core import cli
from core.config import load
from core.errors import UserError

SCRIPTS = {"raxe-0.15": "ask_raxe_015.py", "raxe-folder": "ask_folder.py", "raxe-bundle": "ask_bundle.py"}
HERE = Path(__file__).parent
FILE = "answers.json"  # as the scripts call it


def work(arguments: argparse.Namespace) -> int:
    """Ask both, compare, print; 1 where a verdict differs or the consumer failed in a way of its own."""
    from benchmarks.consumers.agreement import compare
    from core.data import load as load_data
    from core.manifest import read
    from core.pipeline import open_pipeline

    if arguments.texts < 2:
        raise UserError(f"--texts is {arguments.texts}: at least 2 are needed, an attack and a benign one")
    experiment = load(arguments.config, arguments.overrides)
    rows = load_data(experiment.data, experiment.seed, ("validation",)).splits["validation"]
    chosen = rows.take(half_and_half(rows.labels.tolist(), arguments.texts))
    layout = read(arguments.served).fields.get("layout")
    if layout not in SCRIPTS:
        raise UserError(f"{arguments.served} has the layout {layout}; consumers are known for {', '.join(SCRIPTS)}")
    told = ask(layout, arguments.python, arguments.served, chosen.texts, arguments.source)
    said = open_pipeline(arguments.reference).classify(chosen.texts)
    found = compare(said, chosen.labels.tolist(), told.pop("rows"), layout == "raxe-0.15")
    for name, value in told.items():
        if name != "classes":
            print(f"{name}: {value}")
    print("\n".join(found.sentences()))
    for place in found.differing[:10]:
        print(f"  differs: {' '.join(chosen.texts[place].split())[:80]!r}, ours {said.attack_probability[place]:.4f}")
    return 1 if found.differing or found.other_errors else 0


def half_and_half(labels: Sequence[int], count: int) -> list[int]:
    """Places of `count` texts from all over, as many attacks as benign ones."""
    places = []
    for label in (1, 0):
        held = [place for place, one in enumerate(labels) if one == label]
        wanted = min(count // 2, len(held))
        places += [held[number * len(held) // wanted] for number in range(wanted)]
    return sorted(places)


def ask(layout: str, python: Path, folder: Path, texts: Sequence[str], source: Path | None = None) -> dict[str, Any]:
    """What the consumer says; python: its interpreter; source: a checkout's `src`, where it is not installed."""
    environment = {"HF_HUB_OFFLINE": "1", "RAXE_SKIP_BUNDLED_MODELS": "1"}
    if source is not None:
        environment["PYTHONPATH"] = str(source.resolve())
    script = HERE / SCRIPTS[layout]
    with answers(python, script, folder, texts, f"ask the consumer of {folder}", environment) as written:
        told: dict[str, Any] = json.loads((written / FILE).read_text(encoding="utf-8"))
    return told


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the experiment whose data is read")
    parser.add_argument("--served", type=Path, required=True, metavar="FOLDER", help="what the consumer loads")
    parser.add_argument("--reference", type=Path, required=True, metavar="FOLDER", help="the raxe folder of that graph")
    parser.add_argument("--python", type=Path, required=True, metavar="FILE", help="the consumer's interpreter")
    parser.add_argument("--source", type=Path, metavar="FOLDER", help="`src` of a checkout of raxe-ce")
    parser.add_argument("--texts", type=int, default=500, metavar="N", help="validation texts, half of them attacks")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="replaces a value of the file")


def main() -> None:
    """The command line."""
    cli.run_on_files(
        work,
        module="benchmarks.consumers.agree",
        purpose="Ask a real consumer and our pipeline about the same validation texts, and count where they agree.",
        declare=declare,
        examples=[
            "python -m benchmarks.consumers.agree --config configs/plain_64.yaml --python RAXE/bin/python"
            " --served artifacts/plain_64/student-int8-raxe-0.15 --reference artifacts/plain_64/student-int8",
            "python -m benchmarks.consumers.agree --config configs/plain_64.yaml --python CE/bin/python --source"
            " raxe-ce/src --served artifacts/plain_64/student-int8 --reference artifacts/plain_64/student-int8",
        ],
        statuses={0: "every verdict agrees", 1: "a verdict differs, or the consumer failed"},
    )


if __name__ == "__main__":
    main()
