"""A pretrained encoder as it is, with heads fitted on its embeddings: what there is before any training."""

from __future__ import annotations

import argparse

from core import cli
from core.schema import Experiment
from distill.fit_heads import describe_sizes, fitted, refuse_unfitted

NAME = "frozen"


def work(experiment: Experiment, arguments: argparse.Namespace | None = None) -> int:
    """Writes <output>/frozen, a PyTorch checkpoint with logistic heads."""
    refuse_unfitted(experiment.heads.kind, "distill.frozen")
    # Imported here so that --help and mistakes in the configuration do not wait for the model libraries.
    import tempfile
    from pathlib import Path

    from core import checkpoint
    from core.config import resolved
    from core.data import load
    from core.folders import writable
    from core.provenance import provenance
    from core.rows import Taxonomy
    from core.tokenizer import TextTokenizer
    from core.torch_encoder import TorchEncoder
    from distill import origins
    from distill.finish import describe_scores

    target = writable(experiment.output) / NAME
    corpus = load(experiment.data, experiment.seed)
    train, taxonomy = corpus.splits["train"], Taxonomy.of(corpus.splits["train"])
    with tempfile.TemporaryDirectory() as scratch:
        config = experiment.teacher
        encoder, tokenizer_folder = origins.initial(config, train.texts, Path(scratch), experiment.seed)
        reader = TorchEncoder(encoder, TextTokenizer.open(tokenizer_folder, config.max_length))
        classifier, scores = fitted(reader, corpus, taxonomy, experiment)
        described = {
            "seed": experiment.seed,
            "parent": origins.lineage(config),
            "heads": {"kind": "logistic", "calibration": experiment.heads.calibration},
            "scores": scores,
            "provenance": provenance(resolved(experiment), experiment.seed, corpus.fingerprints),
        }
        if corpus.synthetic:
            described["synthetic"] = True
        checkpoint.save(target, encoder, classifier, config.max_length, tokenizer_folder, described)
    print(describe_scores(target, scores))
    print(describe_sizes(target))
    return 0


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="distill.frozen",
        purpose=(
            "Write the pretrained encoder that `teacher` names (hub, save_pretrained folder of an MPNet or a BERT with"
            " its vocabulary, or grown from MiniLM) as a checkpoint without training it: logistic heads fitted on"
            " its embeddings, operating point from validation. <output>/frozen is a start for export.run,"
            " distill.fit_heads and student.init=checkpoint."
        ),
        sections=("output", "seed", "data", "teacher", "heads"),
        examples=[
            "python -m distill.frozen --config configs/option_c.yaml",
            "python -m distill.frozen --config configs/option_a.yaml teacher.name_or_path=FOLDER",
        ],
    )


if __name__ == "__main__":
    main()
