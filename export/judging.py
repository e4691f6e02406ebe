"""One graph as the pipeline serves it: held against PyTorch, asked for a smoke text, matched with measured reports."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import onnx

from core import first_layer, serving, smoke
from core.manifest import Manifest
from core.pipeline import Pipeline, open_pipeline
from core.schema import Experiment
from core.schema.serving import Format
from eval import ledger
from eval.cards import measured
from export import company, layouts, parity, stored
from export.layouts.product import Product


def judged(
    experiment: Experiment,
    checkpoint: Manifest,
    graph: onnx.ModelProto,
    chosen: Format,
    reference: Pipeline,
    sample: Sequence[str],
) -> Product:
    """What the layouts are written from; UserError where the graph differs more from PyTorch than the config allows."""
    name = layouts.folder_name(checkpoint.name, chosen, "raxe-folder")
    product = Product(checkpoint, graph, chosen, name, merged=experiment.export.merge_heads)
    with tempfile.TemporaryDirectory() as folder:
        written = layouts.write("raxe-folder", Path(folder), product, "")
        exported = open_pipeline(Path(folder))
        beside = parity.compare(reference, exported, sample)
        parity.check(beside, experiment.export.parity, name)
        together = company.compare(exported, sample)
        sizes = ledger.compare(checkpoint.folder, Path(folder))
        print(_sentence(name, beside, together))
        held = stored.measure(graph)
        print(ledger.table(sizes))
        print(stored.sentence(held))
        decides = (*written.fields["onnx_files"], "tokenizer.json", first_layer.FILE, serving.KEY)
        deciding = {part: digest for part, digest in written.hashes.items() if part in decides}
        places = (experiment.output / "reports", checkpoint.folder.parent / "reports")
        return replace(
            product,
            found={
                "parity": asdict(beside),
                "company": asdict(together),
                "bytes_by_group": sizes,
                "stored": asdict(held),
            },
            smoke=smoke.ask(exported),
            measured=measured.find(places, name, deciding, checkpoint),
            latency_target=experiment.evaluation.targets.p95_ms,
        )


def _sentence(name: str, beside: parity.ParityReport, together: company.CompanyReport) -> str:
    return (
        f"{name}: cosine to PyTorch mean {beside.mean_cosine:.4f}, worst {beside.worst_cosine:.4f}"
        f" ({beside.worst_text}); {beside.flips} of {beside.texts} decisions differ."
        f" Behind padding and in batches: worst cosine {together.worst_cosine:.6f} to each text alone,"
        f" {together.flips} decisions differ"
    )
