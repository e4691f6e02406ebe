"""What every single layer and head of a checkpoint is worth on validation, before anything is pruned."""

from __future__ import annotations

import argparse
from pathlib import Path

from core import cli
from core.schema import Experiment


def work(experiment: Experiment, arguments: argparse.Namespace | None = None) -> int:
    """Writes <output>/costs/<checkpoint's name>/."""
    # Imported here so that --help and mistakes in the configuration do not wait for the model libraries.
    from core.config import resolved
    from core.provenance import provenance
    from prune import cost_report, cost_table
    from prune.subject import open_subject
    from prune.surgery import refuse_other_architectures

    source = Path(str(experiment.checkpoint))
    subject = open_subject(source, experiment)
    refuse_other_architectures(subject.encoder.spec)
    costs = cost_table.measure(subject.encoder, subject.judge)
    made = provenance(resolved(experiment), experiment.seed, subject.corpus.fingerprints)
    named = {
        "model": subject.manifest.name,
        "digest": subject.manifest.digest,
        "synthetic": subject.corpus.synthetic,
        "provenance": made,
    }
    folder = experiment.output / "costs" / source.resolve().name
    for path in cost_report.write(folder, costs, named):
        print(path)
    return 0


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="prune.costs",
        purpose=(
            "Measure what validation loses without each single layer and each single head of a checkpoint (F1 at the"
            " threshold, cosine of the embeddings). Writes costs.json, costs.md and costs.png to"
            " <output>/costs/<checkpoint's name>/."
        ),
        sections=("checkpoint", "output", "seed", "pruning.validation_texts", "data", "heads"),
        needs_checkpoint=True,
        examples=[
            "python -m prune.costs --config configs/plain_64.yaml checkpoint=artifacts/plain_64/student",
            "python -m prune.costs --config configs/option_b_grown.yaml checkpoint=artifacts/grown_excerpt/teacher"
            " pruning.validation_texts=300",
        ],
    )


if __name__ == "__main__":
    main()
