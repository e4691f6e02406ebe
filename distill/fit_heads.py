"""Fit logistic-regression heads on the embeddings of any checkpoint, PyTorch or ONNX, and write it beside with them."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression

from core import cli
from core.heads import LinearHead
from core.rows import IGNORED, Rows, Taxonomy
from core.schema import Experiment, Heads


def fit_logistic(
    embeddings: NDArray[np.float32] | csr_array,
    rows: Rows,
    taxonomy: Taxonomy,
    config: Heads,
    tolerance: float = 1e-4,
) -> dict[str, LinearHead]:
    """Binary, family and sub-family heads by scikit-learn, class-balanced for the attack classes.

    embeddings: (rows, dim) of the training rows; tolerance: at which the solver stops, scikit-learn's default.
    """
    targets = dict(zip(("binary", "family", "subfamily"), taxonomy.targets(rows), strict=True))
    sizes = {"family": len(taxonomy.families), "subfamily": len(taxonomy.subfamilies)}
    binary = LogisticRegression(C=config.inverse_regularisation, max_iter=2000, tol=tolerance)
    binary.fit(embeddings, targets["binary"])
    heads = {"binary": LinearHead(binary.coef_.astype(np.float32), binary.intercept_.astype(np.float32))}
    for name, classes in sizes.items():
        chosen = targets[name] != IGNORED
        heads[name] = _multinomial(embeddings[chosen], targets[name][chosen], classes, config, tolerance)
    return heads


def _multinomial(
    embeddings: NDArray[np.float32] | csr_array,
    target: NDArray[np.int64],
    classes: int,
    config: Heads,
    tolerance: float,
) -> LinearHead:
    """One row per class; scikit-learn keeps a single row for two classes and refuses one class."""
    dimension = embeddings.shape[1]
    if classes == 1:
        return LinearHead(np.zeros((1, dimension), np.float32), np.zeros(1, np.float32))
    model = LogisticRegression(C=config.inverse_regularisation, max_iter=2000, tol=tolerance, class_weight="balanced")
    model.fit(embeddings, target)
    weight, bias = model.coef_, model.intercept_
    if len(bias) == 1:
        weight, bias = np.concatenate([np.zeros_like(weight), weight]), np.concatenate([np.zeros_like(bias), bias])
    return LinearHead(weight.astype(np.float32), bias.astype(np.float32))


def work(experiment: Experiment, arguments: argparse.Namespace | None = None) -> int:
    """Writes <output>/<checkpoint's name>-logistic."""
    # Imported here so that --help and mistakes in the configuration do not wait for the model libraries.
    from core import checkpoint, manifest
    from core.config import resolved
    from core.data import load
    from core.errors import UserError
    from core.folders import new_folder, writable
    from core.pipeline import open_pipeline
    from core.provenance import provenance
    from distill.finish import make_classifier

    source = Path(str(experiment.checkpoint))
    writable(experiment.output)
    old = manifest.read(source)
    if old.kind == "lexical":
        raise UserError(f"{source} is a lexical checkpoint: fit its heads with distill.lexical, terms and all")
    pipeline = open_pipeline(source)
    corpus = load(experiment.data, experiment.seed)
    taxonomy = Taxonomy.of(corpus.splits["train"])
    train, validation = (pipeline.encoder.encode(corpus.splits[name].texts) for name in ("train", "validation"))
    heads = fit_logistic(train, corpus.splits["train"], taxonomy, experiment.heads)
    classifier, scores = make_classifier(heads, validation, corpus, taxonomy, experiment.heads)
    target = experiment.output / f"{old.name}-logistic"
    with new_folder(target) as temporary:
        shutil.copytree(source, temporary, dirs_exist_ok=True)
        checkpoint.write_classifier(temporary, classifier, old.max_length, raw=old.kind == "torch")
        changed = {
            "name": target.name,
            "parent": {"name": old.name, "digest": old.digest},
            "operating_point": checkpoint.describe(classifier.point),
            "scores": scores,
            "provenance": provenance(resolved(experiment), experiment.seed, corpus.fingerprints),
        }
        manifest.write(temporary, {**old.fields, **changed})
    print(f"{target}: validation F1 {scores['validation_f1']:.4f}, FPR {scores['validation_false_positive_rate']:.4f}")
    return 0


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="distill.fit_heads",
        purpose="Fit logistic-regression heads on a checkpoint's embeddings; writes <output>/<name>-logistic.",
        sections=("checkpoint", "output", "heads", "data"),
        needs_checkpoint=True,
        examples=[
            "python -m distill.fit_heads --config configs/quickstart.yaml checkpoint=artifacts/quickstart/student",
        ],
    )


if __name__ == "__main__":
    main()
