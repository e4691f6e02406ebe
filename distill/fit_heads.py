"""Fit heads on the embeddings of any checkpoint, PyTorch or ONNX, and write it beside with them."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from core import cli
from core.errors import UserError
from core.schema import Experiment

if TYPE_CHECKING:
    from core.checkpoint import Classifier
    from core.data import Corpus
    from core.encoder import Encoder
    from core.heads import Head
    from core.manifest import Manifest
    from core.rows import Taxonomy


def refuse_unfitted(kind: str, module: str) -> None:
    """UserError where `heads.kind` is one that only this entry point fits."""
    if kind not in ("linear", "logistic"):
        raise UserError(
            f"{module} knows heads.kind linear and logistic, not {kind}: run it with one of these, and then python -m"
            f" distill.fit_heads --config FILE checkpoint=FOLDER heads.kind={kind}"
        )


def describe_sizes(folder: Path) -> str:
    """What each head takes on disk, for a person to read."""
    from core.heads import HEADS, head_path

    sizes = {name: head_path(folder, name).stat().st_size / 1e6 for name in HEADS}
    listed = ", ".join(f"{name} {size:.2f} MB" for name, size in sizes.items())
    return f"heads on disk: {listed}; together {sum(sizes.values()):.2f} MB"


def open_at_length(old: Manifest, length: int) -> Encoder:
    """The checkpoint's encoder, reading `length` tokens of a text.

    UserError: another length than an export's own, whose other files state it, or more than it has positions.
    """
    from core.opening import open_encoder
    from core.pretrained import read_spec

    if length != old.max_length and old.kind != "torch":
        raise UserError(
            f"serving.max_length is {length}, but {old.folder} ({old.kind}) states {old.max_length} in several files:"
            " give the PyTorch checkpoint, and export what is written"
        )
    if old.kind == "torch" and length > (most := read_spec(old.folder).max_positions - 2):
        raise UserError(f"serving.max_length {length} is more than the {most} positions of {old.folder}")
    return open_encoder(old.folder, replace(old, fields={**old.fields, "max_length": length}))[0]


def fitted(
    encoder: Encoder, corpus: Corpus, taxonomy: Taxonomy, experiment: Experiment
) -> tuple[Classifier[Head], dict[str, float]]:
    """Heads fitted on the encoder's embeddings of the training rows; operating point and scores from validation."""
    from distill.finish import make_classifier
    from distill.heads.fitting import fit_heads

    train, validation = (encoder.encode(corpus.splits[name].texts) for name in ("train", "validation"))
    heads = fit_heads(train, corpus.splits["train"], taxonomy, experiment.heads, experiment.seed)
    return make_classifier(heads, validation, corpus, taxonomy, experiment.heads)


def work(experiment: Experiment, arguments: argparse.Namespace | None = None) -> int:
    """Writes <output>/<checkpoint's name>-<kind of head>."""
    # Imported here so that --help and mistakes in the configuration do not wait for the model libraries.
    from core import checkpoint, manifest
    from core.config import resolved
    from core.data import load
    from core.folders import new_folder, writable
    from core.pretrained import write_length
    from core.provenance import provenance
    from core.rows import Taxonomy
    from core.serving import Serving
    from distill import copied
    from distill.finish import describe_scores

    source, kind = Path(str(experiment.checkpoint)), experiment.heads.kind
    kind = "logistic" if kind == "linear" else kind
    writable(experiment.output)
    old = manifest.read(source)
    if old.kind == "lexical":
        raise UserError(f"{source} is a lexical checkpoint: fit its heads with distill.lexical, terms and all")
    copied.refuse(old)
    length = experiment.serving.max_length or old.max_length
    encoder = open_at_length(old, length)
    corpus = load(experiment.data, experiment.seed)
    taxonomy = Taxonomy.of(corpus.splits["train"])
    classifier, scores = fitted(encoder, corpus, taxonomy, experiment)
    target = experiment.output / f"{old.name}-{kind}"
    with new_folder(target) as temporary:
        # Encoder and heads as one graph would still hold the old heads.
        shutil.copytree(source, temporary, dirs_exist_ok=True, ignore=shutil.ignore_patterns("scores*.onnx"))
        checkpoint.write_classifier(temporary, classifier, length, raw=old.kind == "torch")
        if old.kind == "torch":
            write_length(temporary, length)
        changed = {
            "name": target.name,
            "max_length": length,
            "parent": {"name": old.name, "digest": old.digest},
            "heads": {"kind": kind, "calibration": experiment.heads.calibration},
            "operating_point": checkpoint.describe(classifier.point),
            "scores": scores,
            "provenance": provenance(resolved(experiment), experiment.seed, corpus.fingerprints),
        }
        copied.write(temporary, old, Serving.of(old.fields).to_manifest() | changed)
    print(describe_scores(target, scores))
    print(describe_sizes(target))
    return 0


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="distill.fit_heads",
        purpose=(
            "Fit heads of scikit-learn's (logistic regression, random forest, gradient boosting, small network) on a"
            " checkpoint's embeddings, at another length if asked (serving.max_length); writes <output>/<name>-<kind>,"
            " <name>-logistic for heads.kind linear."
        ),
        sections=("checkpoint", "output", "seed", "heads", "serving.max_length", "data"),
        needs_checkpoint=True,
        examples=[
            "python -m distill.fit_heads --config configs/quickstart.yaml checkpoint=artifacts/quickstart/student",
            "python -m distill.fit_heads --config configs/quickstart.yaml checkpoint=artifacts/quickstart/student-int8"
            " heads.kind=random_forest heads.trees=100 heads.calibration=isotonic",
            "python -m distill.fit_heads --config configs/threats.yaml checkpoint=artifacts/threats/teacher"
            " output=artifacts/teacher_64 serving.max_length=64",
        ],
    )


if __name__ == "__main__":
    main()
