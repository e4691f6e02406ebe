"""Fit heads on the embeddings of any checkpoint, PyTorch or ONNX, and write it beside with them."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from core import cli
from core.errors import UserError
from core.schema import Experiment


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


def work(experiment: Experiment, arguments: argparse.Namespace | None = None) -> int:
    """Writes <output>/<checkpoint's name>-<kind of head>."""
    # Imported here so that --help and mistakes in the configuration do not wait for the model libraries.
    from core import checkpoint, manifest
    from core.config import resolved
    from core.data import load
    from core.folders import new_folder, writable
    from core.pipeline import open_pipeline
    from core.provenance import provenance
    from core.rows import Taxonomy
    from distill.finish import make_classifier
    from distill.heads.fitting import fit_heads

    source, kind = Path(str(experiment.checkpoint)), experiment.heads.kind
    kind = "logistic" if kind == "linear" else kind
    writable(experiment.output)
    old = manifest.read(source)
    if old.kind == "lexical":
        raise UserError(f"{source} is a lexical checkpoint: fit its heads with distill.lexical, terms and all")
    pipeline = open_pipeline(source)
    corpus = load(experiment.data, experiment.seed)
    taxonomy = Taxonomy.of(corpus.splits["train"])
    train, validation = (pipeline.encoder.encode(corpus.splits[name].texts) for name in ("train", "validation"))
    heads = fit_heads(train, corpus.splits["train"], taxonomy, experiment.heads, experiment.seed)
    classifier, scores = make_classifier(heads, validation, corpus, taxonomy, experiment.heads)
    target = experiment.output / f"{old.name}-{kind}"
    with new_folder(target) as temporary:
        shutil.copytree(source, temporary, dirs_exist_ok=True)
        checkpoint.write_classifier(temporary, classifier, old.max_length, raw=old.kind == "torch")
        changed = {
            "name": target.name,
            "parent": {"name": old.name, "digest": old.digest},
            "heads": {"kind": kind, "calibration": experiment.heads.calibration},
            "operating_point": checkpoint.describe(classifier.point),
            "scores": scores,
            "provenance": provenance(resolved(experiment), experiment.seed, corpus.fingerprints),
        }
        manifest.write(temporary, {**old.fields, **changed})
    print(f"{target}: validation F1 {scores['validation_f1']:.4f}, FPR {scores['validation_false_positive_rate']:.4f}")
    print(describe_sizes(target))
    return 0


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="distill.fit_heads",
        purpose=(
            "Fit heads of scikit-learn's (logistic regression, random forest, gradient boosting, small network) on a"
            " checkpoint's embeddings; writes <output>/<name>-<kind>, <name>-logistic for heads.kind linear."
        ),
        sections=("checkpoint", "output", "seed", "heads", "data"),
        needs_checkpoint=True,
        examples=[
            "python -m distill.fit_heads --config configs/quickstart.yaml checkpoint=artifacts/quickstart/student",
            "python -m distill.fit_heads --config configs/quickstart.yaml checkpoint=artifacts/quickstart/student-int8"
            " heads.kind=random_forest heads.trees=100 heads.calibration=isotonic",
        ],
    )


if __name__ == "__main__":
    main()
