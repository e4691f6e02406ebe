"""Copy the figures of measured reports into the manifests of serving folders, where raxe-ce's registry reads them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import cli
from core.errors import UserError

if TYPE_CHECKING:
    from core.manifest import Manifest

FIGURES = ("performance", "accuracy", "measured")


def work(arguments: argparse.Namespace) -> int:
    """Each folder's manifest alone is written anew: files and digest stay, so reports and logs stay those of it."""
    from core import manifest

    folders: list[Path] = arguments.folders
    for verified, places in [(manifest.read(folder), arguments.reports or [beside(folder)]) for folder in folders]:
        fields = quoted(verified, places)
        manifest.write(verified.folder, fields)
        origin = fields["measured"]
        print(f"{verified.folder}: figures of {origin['split']}, {origin['rows']:,} rows, judged {origin['timestamp']}")
    return 0


def beside(folder: Path) -> Path:
    """Where `eval.run` puts reports on a folder that lies in its experiment's output."""
    return folder.resolve().parent / "reports"


def command(folder: Path, places: Path | None = None) -> str:
    """What a person types."""
    return f"python -m eval.quote {folder}" + ("" if places in (None, beside(folder)) else f" --reports {places}")


def quoted(verified: Manifest, places: list[Path]) -> dict[str, Any]:
    """The manifest's fields with the figures of reports on this very folder. UserError: there is none, or no graph."""
    from eval.cards import measured

    folder = verified.folder
    if verified.kind != "onnx":
        raise UserError(f"{folder} is no raxe folder ({verified.kind}): figures are quoted in what the registry serves")
    if (found := measured.on(verified, places)) is None:
        raise UserError(
            f"no report on validation or test in {', '.join(map(str, places))} is on {folder} as it is now: judge it"
            f" with python -m eval.run --config FILE checkpoint={folder}, or name the folder of reports with --reports"
        )
    target = (verified.fields.get("performance") or {}).get("target_latency_ms")
    kept = {name: value for name, value in verified.fields.items() if name not in FIGURES}
    return kept | found.sections({} if target is None else {"target_latency_ms": target})


def declare(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="raxe folders that were judged")
    parser.add_argument(
        "--reports", type=Path, action="append", metavar="FOLDER", help="holds reports (default: reports beside FOLDER)"
    )


def main() -> None:
    """The command line."""
    cli.run_on_files(
        work,
        module="eval.quote",
        purpose=(
            "Copy the figures that eval.run or eval.options measured on serving folders into their manifests, for\n"
            "eval.select and raxe-ce's registry: test before validation, the latest first. Only reports on the very\n"
            "files, served the same, are quoted; the model card stays, so the folder's digest does."
        ),
        declare=declare,
        statuses={0: "written"},
        examples=[
            "python -m eval.quote artifacts/quickstart/student-int8",
            "python -m eval.quote artifacts/plain_64/student-int8 --reports artifacts/options/reports",
        ],
    )


if __name__ == "__main__":
    main()
