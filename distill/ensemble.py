"""Blend unlike checkpoints into one, which teaches a student or is judged like any other."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import cli
from core.errors import UserError
from core.schema import Experiment

if TYPE_CHECKING:
    from core.checkpoint import Classifier
    from core.data import Corpus
    from core.ensemble import EnsembleEncoder
    from core.pipeline import Pipeline

NAME = "ensemble"


def fit(
    encoder: EnsembleEncoder, corpus: Corpus, experiment: Experiment
) -> tuple[Classifier, dict[str, float], list[float]]:
    """Heads, operating point and scores from the validation rows, and each member's weight."""
    # Imported here so that --help and mistakes in the configuration do not wait for the model libraries.
    import numpy as np

    from core import triggers
    from core.checkpoint import Classifier
    from core.ensemble import log_width
    from distill.blend import blended_heads, cross_fitted, logistic_weights, mean_weights
    from eval import operating_point
    from eval.metrics import validation_scores

    rows, taxonomy = corpus.splits["validation"], encoder.members[0].taxonomy
    log_odds = encoder.encode(rows.texts)[:, : encoder.scores : log_width(taxonomy)]  # (rows, members)
    if experiment.ensemble.blend == "logistic" and len(encoder.members) > 1:
        weights, bias = logistic_weights(log_odds, rows.labels)
        logits = cross_fitted(log_odds, rows.labels, rows.groups, experiment.ensemble.folds)
    else:
        weights, bias = mean_weights(len(encoder.members))
        logits = log_odds @ weights
    point = operating_point.fit(logits, rows.labels, experiment.heads, corpus.fingerprints["validation"])
    scores = validation_scores(rows.labels, np.asarray(logits) >= point.logit)
    heads = blended_heads(weights, bias, len(taxonomy.families), len(taxonomy.subfamilies), encoder.dimension)
    learned = triggers.learn(corpus.splits["train"])
    return Classifier(heads, point, taxonomy, learned), scores, [float(weight) for weight in weights]


def write(
    folder: Path, members: Sequence[Pipeline], dimension: int, classifier: Classifier, fields: Mapping[str, Any]
) -> None:
    """Writes a whole checkpoint with copies of the members, or nothing; `fields` go into the manifest."""
    from core import checkpoint, ensemble, manifest
    from core.folders import new_folder, write_json

    with new_folder(folder) as temporary:
        names = [f"{place}-{member.folder.name}" for place, member in enumerate(members)]
        for name, member in zip(names, members, strict=True):
            shutil.copytree(member.folder, temporary / "members" / name)
        write_json(temporary / ensemble.LIST, {"members": names})
        longest = max(int(member.described["max_length"]) for member in members)
        checkpoint.write_classifier(temporary, classifier, longest)
        basis = {"name": folder.name, "version": "0.1.0", "status": "experimental", "kind": "ensemble", "parent": None}
        shape = {"embedding_dim": dimension, "max_length": longest}
        point = {"operating_point": checkpoint.describe(classifier.point)}
        manifest.write(temporary, {**basis, **shape, **point, **fields})


def refuse_unlike(members: Sequence[Pipeline], trained_on: str | None) -> None:
    """UserError where members know other families or sub-families; a line where one has other training rows."""
    first = members[0]
    for member in members[1:]:
        if member.taxonomy != first.taxonomy:
            raise UserError(
                f"{member.folder} knows other families or sub-families than {first.folder}: train both on the same"
            )
    for member in members:
        rows = ((member.described.get("provenance") or {}).get("fingerprints") or {}).get("train")
        if rows != trained_on:
            print(f"{member.folder} was trained on other rows than data.train: see that none of them is validation's")


def work(experiment: Experiment, arguments: argparse.Namespace | None = None) -> int:
    """Writes <output>/ensemble."""
    from core import manifest
    from core.config import resolved
    from core.data import load
    from core.ensemble import EnsembleEncoder, open_member
    from core.folders import writable
    from core.provenance import hardware, provenance
    from distill.finish import describe_scores

    folders = experiment.ensemble.members
    if not folders:
        raise UserError("ensemble.members is empty: name the checkpoints to blend, ensemble.members=[FOLDER, FOLDER]")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("ensemble.members names a folder twice: each checkpoint counts once")
    writable(experiment.output)
    encoder = EnsembleEncoder([open_member(folder) for folder in folders])
    encoder.use_threads(hardware()["cores"])
    corpus = load(experiment.data, experiment.seed)
    print(corpus.describe())
    refuse_unlike(encoder.members, corpus.fingerprints.get("train"))
    classifier, scores, weights = fit(encoder, corpus, experiment)
    digests = [manifest.read(folder).digest for folder in folders]
    described = [
        {"name": member.model_id, "digest": digest, "weight": weight}
        for member, digest, weight in zip(encoder.members, digests, weights, strict=True)
    ]
    made_of = provenance(resolved(experiment), experiment.seed, corpus.fingerprints)
    fields: dict[str, Any] = {
        "seed": experiment.seed, "members": described, "scores": scores, "provenance": made_of,
    }  # fmt: skip
    if corpus.synthetic:
        fields["synthetic"] = True
    target = experiment.output / NAME
    write(target, encoder.members, encoder.dimension, classifier, fields)
    for member in described:
        print(f"  weight {member['weight']:.3f}  {member['name']}")
    print(describe_scores(target, scores))
    return 0


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="distill.ensemble",
        purpose=(
            "Blend unlike checkpoints (lexical, neural, other lengths or seeds) into one: <output>/ensemble. It is"
            " judged by eval.run, and teaches where teacher.name_or_path names it and teacher.training is null."
        ),
        sections=("output", "seed", "ensemble", "heads", "data"),
        examples=[
            "python -m distill.ensemble --config configs/ensemble.yaml",
            "python -m eval.run --config configs/ensemble.yaml checkpoint=artifacts/ensemble/ensemble"
            " evaluation.latency_calls=0",
        ],
    )


if __name__ == "__main__":
    main()
