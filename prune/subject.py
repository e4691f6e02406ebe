"""The checkpoint that is to be pruned, opened: its encoder in FP32, its heads, and the texts that it is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from core import checkpoint, manifest
from core.checkpoint import Classifier
from core.data import Corpus, load
from core.errors import UserError
from core.folders import writable
from core.heads import LinearHead
from core.manifest import Manifest
from core.model import SentenceEncoder
from core.pretrained import load_encoder
from core.schema import Experiment
from core.tokenizer import TextTokenizer
from prune.judge import Judge, sample
from prune.objective import Batch, labelled_batches


@dataclass(frozen=True)
class Subject:
    """A checkpoint and what it is measured on."""

    manifest: Manifest
    encoder: SentenceEncoder  # FP32
    stored: torch.dtype
    """Of the weights in the folder."""
    classifier: Classifier[LinearHead]
    tokenizer: TextTokenizer
    corpus: Corpus
    calibration: Sequence[Batch]
    """Training rows."""
    judge: Judge
    """On validation rows."""


def open_subject(source: Path, experiment: Experiment) -> Subject:
    """UserError for a folder that is damaged, no PyTorch checkpoint, without linear heads, or without rows."""
    verified, settings, seed = manifest.read(source), experiment.pruning, experiment.seed
    if verified.kind != "torch":
        raise UserError(f"{source} is of kind {verified.kind}; give the PyTorch checkpoint that it came from")
    classifier = checkpoint.load_classifier(source, verified.fields)
    writable(experiment.output)
    corpus = load(experiment.data, seed)
    stored = load_encoder(source)
    encoder = load_encoder(source, torch.float32).eval()
    tokenizer = TextTokenizer.open(source, verified.max_length)
    drawn = sample(corpus.splits["train"], settings.calibration_texts, seed)
    judged = sample(corpus.splits["validation"], settings.validation_texts, seed)
    head, point = classifier.heads["binary"], classifier.point
    return Subject(
        verified,
        encoder,
        stored.dtype,
        classifier,
        tokenizer,
        corpus,
        labelled_batches(encoder, drawn, classifier.taxonomy, tokenizer),
        Judge.of(encoder, tokenizer, judged, head, point, experiment.heads),
    )
