"""Give any checkpoint triggers, attack clusters and a first layer, and write it beside with them, untrained."""

from __future__ import annotations

import argparse
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core import cli
from core.errors import UserError
from core.schema import Experiment

if TYPE_CHECKING:
    from core.clusters import AttackClusters
    from core.data import Corpus
    from core.first_layer import FirstLayer
    from core.pipeline import Pipeline
    from core.rows import Rows
    from core.triggers import Trigger

SUFFIX = "guarded"


@dataclass(frozen=True)
class Learned:
    """What the training rows gave."""

    triggers: list[Trigger]
    clusters: AttackClusters | None
    layer: FirstLayer | None

    def describe(self) -> str:
        """In one line, for a person to read."""
        kinds = Counter(trigger.kind for trigger in self.triggers)
        listed = ", ".join(f"{kinds[kind]} {kind}s" for kind in ("keyword", "phrase", "pattern"))
        clusters = len(self.clusters.examples) if self.clusters else 0
        rules = len(self.layer.weights) if self.layer else 0
        return f"{listed}; {clusters} attack clusters; {rules} rules in the first layer"


def learn(pipeline: Pipeline, corpus: Corpus, experiment: Experiment) -> Learned:
    """Everything that `experiment.triggers` asks for; clusters only where embeddings have length 1."""
    # Imported here so that --help and mistakes in the configuration do not wait for the model libraries.
    from core import triggers
    from core.pipeline import DENSE
    from distill.triggers import score_card
    from distill.triggers.clustering import cluster, drawn

    config, train = experiment.triggers, corpus.splits["train"]
    found = triggers.learn(
        train, corpus.splits["validation"], config.minimum_attacks, config.minimum_precision, config.most
    )
    clusters = None
    if config.clusters and pipeline.described["kind"] in DENSE:
        attacks = drawn(train, config.clustered, experiment.seed)
        clusters = cluster(pipeline.encoder.encode(attacks.texts), attacks, config.clusters, experiment.seed)
    layer = score_card.learn(train, config) if config.rules else None
    return Learned(found, clusters, layer)


def write(folder: Path, learned: Learned) -> None:
    """Into a copy of a checkpoint; what it had of these before is replaced or removed."""
    from core import clusters, first_layer, triggers

    triggers.save(folder, learned.triggers)
    for name in (*clusters.FILES, first_layer.FILE):
        (folder / name).unlink(missing_ok=True)
    if learned.clusters:
        clusters.save(folder, learned.clusters)
    if learned.layer:
        first_layer.save(folder, learned.layer)


def validation_scores(pipeline: Pipeline, rows: Rows) -> dict[str, float]:
    """What the pipeline as it is served does on validation, by the names that a manifest gives them."""
    from eval.metrics import validation_scores as scores

    return scores(rows.labels, pipeline.classify(rows.texts).attack_probability >= 0.5)


def work(experiment: Experiment, arguments: argparse.Namespace | None = None) -> int:
    """Writes <output>/<checkpoint's name>-guarded."""
    from core import manifest
    from core.config import resolved
    from core.data import load
    from core.folders import new_folder, writable
    from core.pipeline import open_pipeline
    from core.provenance import provenance
    from core.serving import Serving
    from distill import copied

    source, asked = Path(str(experiment.checkpoint)), experiment.serving
    if asked.first_layer and not experiment.triggers.rules:
        raise UserError(
            f"serving.first_layer is {asked.first_layer}, but triggers.rules is 0: set rules or leave it out"
        )
    if asked.max_length:
        raise UserError(f"serving.max_length {asked.max_length} needs heads fitted at it: run distill.fit_heads first")
    old = manifest.read(source)
    copied.refuse(old)
    writable(experiment.output)
    pipeline = open_pipeline(source)
    corpus = load(experiment.data, experiment.seed)
    learned = learn(pipeline, corpus, experiment)
    target = experiment.output / f"{old.name.removesuffix(f'-{SUFFIX}')}-{SUFFIX}"
    serving = Serving(**asked.model_dump(exclude={"max_length"}))
    with new_folder(target) as temporary:
        shutil.copytree(source, temporary, dirs_exist_ok=True)
        write(temporary, learned)
        changed = {
            "name": target.name,
            "parent": {"name": old.name, "digest": old.digest},
            **serving.to_manifest(),
            "provenance": provenance(resolved(experiment), experiment.seed, corpus.fingerprints),
        }
        copied.write(temporary, old, changed)
        if {serving, Serving.of(old.fields)} != {Serving()}:  # else the model decides alone, with the scores it had
            scores = validation_scores(open_pipeline(temporary), corpus.splits["validation"])
            copied.write(temporary, old, {**changed, "scores": scores})
    print(f"{target}: {learned.describe()}")
    return 0


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="distill.fit_triggers",
        purpose=(
            "Learn triggers, attack clusters and a first layer from the training rows for any checkpoint, and say how"
            " it is to be served; writes <output>/<name>-guarded. Weights and heads stay as they are."
        ),
        sections=("checkpoint", "output", "seed", "triggers", "serving", "data"),
        needs_checkpoint=True,
        examples=[
            "python -m distill.fit_triggers --config configs/quickstart.yaml checkpoint=artifacts/quickstart/student",
            "python -m distill.fit_triggers --config configs/threats.yaml checkpoint=artifacts/threats/student-int8"
            " serving.decode=beside serving.first_layer=careful",
        ],
    )


if __name__ == "__main__":
    main()
