"""Export a checkpoint to ONNX serving folders, refusing any whose decisions differ from PyTorch's."""

from __future__ import annotations

import argparse
from pathlib import Path

from core import cli
from core.errors import UserError
from core.folders import writable
from core.schema import Experiment


def work(experiment: Experiment, arguments: argparse.Namespace | None = None) -> int:
    """One serving folder per format, beside the checkpoint."""
    # Imported here so that --help and mistakes in the configuration do not wait for the model libraries.
    import onnx

    from core import manifest
    from core.data import load
    from core.folders import new_folder
    from core.pipeline import open_pipeline
    from core.pretrained import load_encoder
    from export import int8, layouts, parity
    from export.graph import to_onnx

    source = Path(str(experiment.checkpoint))
    checkpoint = manifest.read(source)
    if checkpoint.kind != "torch":
        raise UserError(f"{source} is already ONNX; give the PyTorch checkpoint that it came from")
    writable(experiment.output)
    texts = load(experiment.data, experiment.seed, ("validation",)).splits["validation"].texts
    sample = texts[: experiment.export.parity.texts]
    reference = open_pipeline(source)
    fp32: onnx.ModelProto = to_onnx(load_encoder(source))
    for precision in experiment.export.formats:
        graph = fp32 if precision == "fp32" else int8.quantise(fp32)
        name = f"{checkpoint.name}-{precision}"
        target = experiment.output / name
        with new_folder(target) as temporary:
            layouts.write_raxe_folder(temporary, checkpoint, graph, precision, name)
            measured = parity.compare(reference, open_pipeline(temporary), sample)
            parity.check(measured, experiment.export.parity, name)
        print(
            f"{target}: cosine to PyTorch mean {measured.mean_cosine:.4f}, worst {measured.worst_cosine:.4f};"
            f" {measured.flips} of {measured.texts} decisions differ"
        )
    return 0


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="export.run",
        purpose="Write FP32 and INT8 ONNX serving folders (<output>/<checkpoint's name>-<format>) from a checkpoint.",
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
