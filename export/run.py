"""Export a checkpoint to ONNX serving folders, refusing any whose decisions differ from PyTorch's."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from core import cli
from core.errors import UserError
from core.folders import writable
from core.schema import Experiment

if TYPE_CHECKING:
    from export.company import CompanyReport
    from export.parity import ParityReport


def work(experiment: Experiment, arguments: argparse.Namespace | None = None) -> int:
    """One serving folder per format, beside the checkpoint."""
    # Imported here so that --help and mistakes in the configuration do not wait for the model libraries.
    from core import manifest
    from core.data import load
    from core.folders import new_folder
    from core.pipeline import open_pipeline
    from core.pretrained import load_encoder
    from export import company, layouts, parity, precision
    from export.graph import to_onnx

    source, settings = Path(str(experiment.checkpoint)), experiment.export
    checkpoint = manifest.read(source)
    if checkpoint.kind != "torch":
        raise UserError(f"{source} is already ONNX; give the PyTorch checkpoint that it came from")
    writable(experiment.output)
    splits = load(experiment.data, experiment.seed, ("train", "validation")).splits
    sample = splits["validation"].texts[: settings.parity.texts]
    reference = open_pipeline(source)
    watched = reference.encoder.tokenise(precision.spread(splits["train"].texts, settings.calibration_texts))
    fp32 = to_onnx(load_encoder(source))
    for chosen, graph in precision.graphs(fp32, settings.formats, watched):
        name = f"{checkpoint.name}-{chosen.replace('_', '-')}"
        target = experiment.output / name
        with new_folder(target) as temporary:
            written = layouts.write_raxe_folder(temporary, checkpoint, graph, chosen, name, settings.merge_heads)
            exported = open_pipeline(temporary)
            measured = parity.compare(reference, exported, sample)
            parity.check(measured, settings.parity, name)
            together = company.compare(exported, sample)
            found = {"parity": asdict(measured), "company": asdict(together)}
            manifest.write(temporary, {**written.fields, **found})
        print(_sentence(target, measured, together))
    return 0


def _sentence(target: Path, measured: ParityReport, together: CompanyReport) -> str:
    return (
        f"{target}: cosine to PyTorch mean {measured.mean_cosine:.4f}, worst {measured.worst_cosine:.4f}"
        f" ({measured.worst_text}); {measured.flips} of {measured.texts} decisions differ."
        f" Behind padding and in batches: worst cosine {together.worst_cosine:.6f} to each text alone,"
        f" {together.flips} decisions differ"
    )


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="export.run",
        purpose="Write ONNX serving folders (<output>/<checkpoint's name>-<format>) from a checkpoint.",
        sections=("checkpoint", "output", "export", "data"),
        needs_checkpoint=True,
        examples=[
            "python -m export.run --config configs/quickstart.yaml checkpoint=artifacts/quickstart/student",
            "python -m export.run --config configs/threats.yaml checkpoint=artifacts/threats/teacher"
            " export.formats=[fp32]",
        ],
        statuses={0: "written", 2: "not written: a mistake, or the graph differs from PyTorch"},
    )


if __name__ == "__main__":
    main()
