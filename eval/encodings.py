"""Say what a checkpoint flags of the same texts as they stand and encoded, with and without reading decoded views."""

from __future__ import annotations

import argparse
from pathlib import Path

from core import cli
from core.config import resolved
from core.errors import UserError
from core.schema import Experiment


def work(experiment: Experiment, arguments: argparse.Namespace | None = None) -> int:
    """Open, load, measure, write, print."""
    if experiment.checkpoint is None:
        raise UserError("there is no model to ask: add checkpoint=FOLDER")
    # Imported here so that --help and mistakes in the configuration do not wait for the model libraries.
    from core.data import load
    from core.folders import writable
    from core.pipeline import open_pipeline
    from core.provenance import provenance
    from eval.encoded.measuring import measure
    from eval.encoded.page import print_encodings, write

    split = experiment.evaluation.split
    folder = encodings_folder(experiment.output, experiment.checkpoint, split)
    writable(folder)
    pipeline = open_pipeline(experiment.checkpoint)
    corpus = load(experiment.data, experiment.seed, splits=(split,))
    found = measure(
        pipeline,
        corpus.splits[split],
        split,
        experiment.seed,
        synthetic=corpus.synthetic,
        provenance=provenance(resolved(experiment), experiment.seed, corpus.fingerprints),
    )
    paths = write(found, folder)
    print_encodings(found)
    for path in paths:
        print(path)
    return 0


def encodings_folder(output: Path, checkpoint: Path, split: str) -> Path:
    """Where it is written: output/encodings/<checkpoint>-<split>."""
    return output / "encodings" / f"{checkpoint.resolve().name}-{split}"


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="eval.encodings",
        purpose=(
            "Say what a checkpoint flags of the same attacks and benign texts as they stand and in base64, hex, URL,"
            " rot13, leet, look-alike letters and with zero-width characters between them: by the raw text, with its"
            " decoded view beside it, and by the view instead; behind the checkpoint's own first layer, where it is"
            " served with one. Writes encodings.json and encodings.md to"
            " <output>/encodings/<checkpoint>-<split>/."
        ),
        sections=("checkpoint", "output", "data", "evaluation.split"),
        needs_checkpoint=True,
        examples=[
            "python -m eval.encodings --config configs/quickstart.yaml checkpoint=artifacts/quickstart/student-int8",
        ],
    )


if __name__ == "__main__":
    main()
