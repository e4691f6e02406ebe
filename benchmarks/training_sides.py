"""One training of the student, by our trainer or by sentence-transformers' own, and how long it took."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.rounds import Timing
from benchmarks.training_task import Task, clocked, silence
from core.pretrained import load_encoder
from core.rows import Taxonomy
from core.schema import Heads, Losses
from core.schema.losses import OFF

if TYPE_CHECKING:
    from distill.training_set import TeacherTargets

EMBEDDING_ALONE = Losses(logits_kd=OFF, task=OFF)  # 1 - cosine, which is EmbedDistillLoss's default too
VALIDATED = 8  # of each label: after the last step our trainer validates once, outside the clock
SHARED = {"num_train_epochs", "per_device_train_batch_size", "learning_rate", "weight_decay", "warmup_ratio"}
SHARED |= {"lr_scheduler_type", "max_grad_norm", "logging_steps"}


def ours(task: Task) -> Timing:
    """`distill.fit.fit` as `distill.train` calls it. Tokenising all texts, which comes first, is in the time."""
    from distill.classifier import SentenceClassifier, TorchHeads
    from distill.fit import fit
    from distill.training_set import TrainingSet

    taxonomy, tokenizer = Taxonomy.of(task.rows), task.tokenizer()
    encoder = load_encoder(task.student, torch.float32)
    model = SentenceClassifier(encoder, TorchHeads(encoder.spec.embedding_size, taxonomy))
    few = np.concatenate([np.flatnonzero(task.rows.labels == label)[:VALIDATED] for label in (0, 1)])
    validation_set = TrainingSet.of(task.rows.take(few), taxonomy, tokenizer, _targets(task.embeddings[few]))
    start = time.perf_counter()
    train_set = TrainingSet.of(task.rows, taxonomy, tokenizer, _targets(task.embeddings))
    tokenising = time.perf_counter() - start
    with TemporaryDirectory() as folder, clocked(model) as clock, silence():
        fit(
            model, train_set, validation_set, EMBEDDING_ALONE, task.training, Heads(), Path(folder), task.seed,
            judge=lambda logits, folder: None, resume=False,
        )  # fmt: skip
    tokens = sum(map(len, train_set.data["input_ids"]))
    return Timing(seconds=tokenising + clock.seconds(task.steps), tokens=tokens)


def _targets(embeddings: NDArray[np.float32]) -> TeacherTargets:
    """The embeddings, and logits that nothing reads."""
    from distill.classifier import Logits
    from distill.training_set import TeacherTargets

    none = torch.zeros(len(embeddings), 1)
    return TeacherTargets(torch.from_numpy(embeddings), Logits(none[:, 0], none, none))


def theirs(task: Task) -> Timing:
    """SentenceTransformerTrainer with EmbedDistillLoss, its defaults but for what the task fixes; it tokenises as it
    goes, as it always does."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import EmbedDistillLoss

    model = SentenceTransformer(str(task.student), device=None if torch.cuda.is_available() else "cpu")
    texts = Dataset.from_dict({"sentence": list(task.rows.texts), "label": list(task.embeddings)})
    with TemporaryDirectory() as folder, clocked(model) as clock, silence():
        arguments = SentenceTransformerTrainingArguments(
            folder, eval_strategy="no", save_strategy="no", report_to=[], seed=task.seed,
            bf16=task.training.precision == "bf16", use_cpu=not torch.cuda.is_available(), dataloader_drop_last=False,
            **task.training.model_dump(include=SHARED),
        )  # fmt: skip
        loss = EmbedDistillLoss(model, distance_metric="cosine")
        trainer = SentenceTransformerTrainer(model, arguments, texts, loss=loss)
        trainer.train()
    tokens = sum(map(len, task.tokenizer().encode(task.rows.texts)))
    return Timing(seconds=clock.seconds(task.steps), tokens=tokens)
