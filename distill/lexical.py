"""Fit the lexical baseline, TF-IDF and logistic regression, and write it as a checkpoint like any other."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import cli
from core.schema import Experiment
from distill.fit_heads import refuse_unfitted

if TYPE_CHECKING:
    from core.checkpoint import Classifier
    from core.data import Corpus
    from core.lexical import LexicalEncoder

NAME = "tfidf"
# scikit-learn's 1e-4 stops on these features half-way, with about 0.005 less validation F1 at 0.5.
TOLERANCE = 1e-5


def fit(corpus: Corpus, experiment: Experiment) -> tuple[LexicalEncoder, Classifier, dict[str, float]]:
    """Encoder and heads from the training rows, operating point and scores from the validation rows."""
    # Imported here so that --help and mistakes in the configuration do not wait for the model libraries.
    from core.rows import Taxonomy
    from distill.finish import make_classifier
    from distill.heads.logistic import fit_logistic
    from distill.tfidf import fit_encoder, sparse_embeddings

    train = corpus.splits["train"]
    taxonomy = Taxonomy.of(train)
    start = time.perf_counter()
    encoder = fit_encoder(train.texts, experiment.lexical)
    embeddings = sparse_embeddings(encoder, train.texts)
    counts = " and ".join(f"{len(block.terms):,} {block.ngrams.unit} n-grams" for block in encoder.blocks)
    share = embeddings.nnz / len(train)
    print(f"vocabulary: {counts}; {share:.0f} of them stand in a text ({time.perf_counter() - start:.0f} s)")
    start = time.perf_counter()
    heads = fit_logistic(embeddings, train, taxonomy, experiment.heads, TOLERANCE)
    kinds = f"binary, {len(taxonomy.families)} families, {len(taxonomy.subfamilies)} sub-families"
    print(f"heads: {kinds} ({time.perf_counter() - start:.0f} s)")
    validation = sparse_embeddings(encoder, corpus.splits["validation"].texts)
    return encoder, *make_classifier(heads, validation, corpus, taxonomy, experiment.heads)


def write(folder: Path, encoder: LexicalEncoder, classifier: Classifier, fields: Mapping[str, Any]) -> None:
    """Writes a whole checkpoint, or nothing; `fields` go into the manifest (seed, scores, provenance)."""
    from core import checkpoint, manifest
    from core.folders import new_folder, write_json

    with new_folder(folder) as temporary:
        encoder.write(temporary)
        # The raw heads are the served ones (operating point taken out), and would make the folder twice as large.
        checkpoint.write_classifier(temporary, classifier, encoder.max_characters, raw=False)
        metadata = temporary / "model_metadata.json"
        write_json(metadata, {**json.loads(metadata.read_text(encoding="utf-8")), "embedding_model": "TF-IDF"})
        basis = {"name": folder.name, "version": "0.1.0", "status": "experimental", "kind": "lexical", "parent": None}
        shape = {"embedding_dim": encoder.dimension, "max_length": encoder.max_characters}
        point = {"operating_point": checkpoint.describe(classifier.point)}
        manifest.write(temporary, {**basis, **shape, **point, **fields})


def work(experiment: Experiment, arguments: argparse.Namespace | None = None) -> int:
    """Writes <output>/tfidf."""
    from core.config import resolved
    from core.data import load
    from core.folders import writable
    from core.provenance import provenance
    from distill.finish import describe_scores

    refuse_unfitted(experiment.heads.kind, "distill.lexical")
    writable(experiment.output)
    corpus = load(experiment.data, experiment.seed)
    print(corpus.describe())
    encoder, classifier, scores = fit(corpus, experiment)
    made_of = provenance(resolved(experiment), experiment.seed, corpus.fingerprints)
    fields: dict[str, Any] = {"seed": experiment.seed, "scores": scores, "provenance": made_of}
    if corpus.synthetic:
        fields["synthetic"] = True
    target = experiment.output / NAME
    write(target, encoder, classifier, fields)
    print(describe_scores(target, scores))
    return 0


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="distill.lexical",
        purpose="Fit the lexical baseline, TF-IDF and logistic regression, on labelled texts; writes <output>/tfidf.",
        sections=("output", "seed", "lexical", "heads", "data"),
        examples=[
            "python -m distill.lexical --config configs/baseline_tfidf.yaml",
            "python -m eval.run --config configs/baseline_tfidf.yaml checkpoint=artifacts/baseline_tfidf/tfidf",
        ],
    )


if __name__ == "__main__":
    main()
