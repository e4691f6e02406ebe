"""A pruned encoder as a checkpoint: threshold chosen anew on validation, parent and what went in the manifest."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np

from core import checkpoint
from core.config import resolved
from core.provenance import provenance
from core.schema import Experiment
from core.torch_encoder import TorchEncoder, in_running_type
from eval.metrics import validation_scores
from eval.operating_point import fit
from prune.steps import Pruned
from prune.subject import Subject


def write(target: Path, pruned: Pruned, subject: Subject, experiment: Experiment) -> dict[str, float]:
    """Writes the folder and returns its scores on all validation rows, measured on the weights as they are stored.

    Triggers and the calibration of the families stay the parent's.
    """
    rows, encoder = subject.corpus.splits["validation"], pruned.encoder.to(subject.stored)
    running = TorchEncoder(in_running_type(copy.deepcopy(encoder)), subject.tokenizer)
    logits = pruned.heads["binary"].logits(running.encode(rows.texts))[:, 0].astype(np.float64)
    point = fit(logits, rows.labels, experiment.heads, subject.corpus.fingerprints["validation"])
    scores = validation_scores(rows.labels, logits >= point.logit)
    parent, seed = subject.manifest, experiment.seed
    fields = {
        "parent": {"name": parent.name, "digest": parent.digest},
        "pruned": {"of": parent.lineage, **pruned.record},  # `parent` changes with every further step; this stays
        "seed": seed,
        "scores": scores,
        "provenance": provenance(resolved(experiment), seed, subject.corpus.fingerprints),
    }
    if subject.corpus.synthetic:
        fields["synthetic"] = True
    classifier = replace(subject.classifier, heads=pruned.heads, point=point)
    checkpoint.save(target, encoder, classifier, parent.max_length, parent.folder, fields)
    return scores
