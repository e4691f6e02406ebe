"""Export a checkpoint to ONNX serving folders in any layout, refusing graphs that decide otherwise than PyTorch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from core import cli
from core.folders import writable
from core.schema import Experiment

if TYPE_CHECKING:
    from core.manifest import Manifest
    from export.layouts import Product


def work(experiment: Experiment, arguments: argparse.Namespace | None = None) -> int:
    """A folder for each format and layout, beside the checkpoint."""
    # Imported here so that --help and mistakes in the configuration do not wait for the model libraries.
    from core.checkpoint import read_torch
    from core.data import load
    from core.pipeline import open_pipeline
    from core.pretrained import load_encoder
    from export import half, judging, precision
    from export.graph import to_onnx

    source, settings = Path(str(experiment.checkpoint)), experiment.export
    checkpoint = read_torch(source)
    _refuse(experiment, checkpoint)
    writable(experiment.output)
    splits = load(experiment.data, experiment.seed, ("train", "validation")).splits
    sample = splits["validation"].texts[: settings.parity.texts]
    reference = open_pipeline(source)
    watched = reference.encoder.tokenise(precision.spread(splits["train"].texts, settings.calibration_texts))
    fp32 = to_onnx(load_encoder(source))
    products: list[Product] = []
    trained = checkpoint.fields.get("activation_scales")
    bits = settings.embedding_bits
    for chosen, graph in precision.graphs(fp32, settings.formats, watched, settings.int4, trained, bits):
        product = judging.judged(experiment, checkpoint, graph, chosen, reference, sample)
        _write(experiment, product)
        if "sentence-transformers" in settings.layouts:
            products.append(product)
    if products:
        _write_together(experiment, products)
    if "fp16" in settings.formats:
        print(half.NOTE)
    return 0


def _refuse(experiment: Experiment, checkpoint: Manifest) -> None:
    """Raises UserError for what no layout, or one that is asked for, can hold: before anything is computed."""
    from export.layouts import raxe_bundle, sentence_transformers

    if "sentence-transformers" in experiment.export.layouts:
        sentence_transformers.refuse(checkpoint)
    if "raxe-bundle" in experiment.export.layouts:
        raxe_bundle.refuse(checkpoint)


def _write(experiment: Experiment, product: Product) -> None:
    """The folders of one format."""
    from core.folders import new_folder
    from export import layouts

    for layout in experiment.export.layouts:
        if layout == "sentence-transformers":  # all formats in one
            continue
        target = experiment.output / layouts.folder_name(product.checkpoint.name, product.precision, layout)
        with new_folder(target) as temporary:
            tokenizer = experiment.export.bundle_tokenizer or str(target.resolve())
            layouts.write(layout, temporary, replace(product, name=target.name), tokenizer)
        print(target)


def _write_together(experiment: Experiment, products: Sequence[Product]) -> None:
    """The folder of all formats."""
    from core.folders import new_folder
    from export import layouts
    from export.layouts import sentence_transformers

    first = products[0]
    target = experiment.output / layouts.folder_name(first.checkpoint.name, first.precision, "sentence-transformers")
    with new_folder(target) as temporary:
        sentence_transformers.write(temporary, target.name, products)
    print(target)


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="export.run",
        purpose=(
            "Write ONNX serving folders from a checkpoint: <output>/<checkpoint's name>-<format>, with -<layout> behind"
            " it where that is not raxe-folder, and <checkpoint's name>-sentence-transformers for all formats together."
            " Figures are copied from the reports of eval.run in <output>/reports or beside the checkpoint."
        ),
        sections=("checkpoint", "output", "seed", "export", "data", "evaluation.targets.p95_ms"),
        needs_checkpoint=True,
        examples=[
            "python -m export.run --config configs/quickstart.yaml checkpoint=artifacts/quickstart/student",
            "python -m export.run --config configs/threats.yaml checkpoint=artifacts/threats/teacher"
            " export.formats=[fp16]",
            "python -m export.run --config configs/threats.yaml checkpoint=artifacts/threats/student"
            " export.formats=[int8] export.layouts=[raxe-folder,raxe-bundle,raxe-0.15,sentence-transformers]",
        ],
        statuses={0: "written", 2: "not written: a mistake, or the graph differs from PyTorch"},
    )


if __name__ == "__main__":
    main()
