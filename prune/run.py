"""Prune a checkpoint: layers, heads, neurons, hidden width, single weights; what is left is a checkpoint like any."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import cli
from core.errors import UserError
from core.schema import Experiment

if TYPE_CHECKING:
    from core.manifest import Manifest
    from core.spec import EncoderSpec


def work(experiment: Experiment, arguments: argparse.Namespace | None = None) -> int:
    """Writes <output>/<pruning.name>, whole or not at all."""
    # Imported here so that --help and mistakes in the configuration do not wait for the model libraries.
    from prune.steps import prune
    from prune.subject import open_subject
    from prune.written import write

    source, target = Path(str(experiment.checkpoint)), experiment.output / experiment.pruning.name
    if target.resolve() == source.resolve():
        raise UserError(f"{target} is the checkpoint itself: give the pruned one another name with pruning.name=NAME")
    subject = open_subject(source, experiment)
    terms = experiment.losses
    pruned = prune(
        subject.encoder,
        subject.classifier.heads,
        experiment.pruning,
        subject.calibration,
        subject.judge,
        (terms.family_weight, terms.subfamily_weight),
    )
    scores = write(target, pruned, subject, experiment)
    print(describe(target, pruned.record, scores))
    if lost := left_behind(subject.manifest):
        print(lost)
    print(recovery(target, pruned.encoder.spec, source, subject.manifest.max_length, pruned.record["zeros"]))
    return 0


def describe(target: Path, record: dict[str, Any], scores: dict[str, float]) -> str:
    """What went and what that costs without recovery, for a person to read."""
    size = record["parameters"]
    return (
        f"{target}: {size['after']:,} of {size['before']:,} parameters, {record['zeros']:.2%} of the layers' weights"
        f" zero; validation F1 {scores['validation_f1']:.4f}, FPR {scores['validation_false_positive_rate']:.4f} before"
        " recovery"
    )


def left_behind(parent: Manifest) -> str | None:
    """What guards a checkpoint and is not carried over, for a person to read; None where it has nothing of these.

    Clusters are of the parent's embeddings, and recovery, which follows, writes a model without any of the three.
    """
    from core import clusters, first_layer, serving

    names = {clusters.CENTRES: "attack clusters", first_layer.FILE: "first layer"}
    gone = [name for file, name in names.items() if file in parent.fields["files"]]
    options = dict(parent.fields.get(serving.KEY) or {})
    asked = [f"serving.{name}={value}" for name, value in options.items() if value is not None]
    if not gone and not asked:
        return None
    return (
        f"not carried over from {parent.name}: {', '.join([*gone, *asked])}; once it has recovered: python -m"
        f" {shlex.join(['distill.fit_triggers', '--config', 'FILE', 'checkpoint=FOLDER', *asked])}"
    )


def recovery(target: Path, spec: EncoderSpec, parent: Path, max_length: int, zeros: float) -> str:
    """The command that trains what is left on its unpruned parent's targets; of `zeros`, a share, all stay."""
    given = {
        "output": "FOLDER",
        "teacher.origin": "pretrained",
        "teacher.name_or_path": parent,
        "teacher.training": "null",
        "student.init": "checkpoint",
        "student.name_or_path": target,
        "student.architecture": spec.architecture,
        "student.layers": spec.layers,
        "student.hidden_size": spec.hidden_size,
        "student.attention_heads": spec.attention_heads,
        "student.intermediate_size": spec.intermediate_size,
        "student.projection": str(spec.projection is not None).lower(),
        "student.max_length": max_length,
    }
    if spec.excerpt:
        given |= {"student.excerpt.tokens": spec.excerpt.tokens, "student.excerpt.first": spec.excerpt.first}
    if zeros:
        given["student.sparsity"] = "{method: keep}"
    command = ["python", "-m", "distill.train", "--config", "FILE", *(f"{key}={value}" for key, value in given.items())]
    return f"recovery: {shlex.join(command)}"


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="prune.run",
        purpose=(
            "Prune a PyTorch checkpoint; writes <output>/<pruning.name>, a checkpoint that eval.run judges, export.run"
            " exports and distill.train goes on from (student.init=checkpoint), with its threshold chosen anew."
        ),
        sections=("checkpoint", "output", "seed", "pruning", "data", "heads", "losses"),
        needs_checkpoint=True,
        examples=[
            "python -m prune.run --config configs/trimmed_excerpt.yaml checkpoint=artifacts/distilled_excerpt/student",
            "python -m prune.run --config configs/plain_64.yaml checkpoint=artifacts/plain_64/student"
            " pruning.layers.remove=2 pruning.heads.remove=4 pruning.neurons.ratio=0.4",
        ],
        statuses={0: "written", 2: "nothing written: a mistake, or more was to go than there is"},
    )


if __name__ == "__main__":
    main()
