"""One small checkpoint in every layout, exported once for all test modules as `export.run` does it; read-only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core import checkpoint
from core.data import Corpus
from core.rows import Taxonomy
from core.schema import Experiment, Heads
from core.tokenizer import TextTokenizer
from core.torch_encoder import TorchEncoder
from distill.finish import make_classifier
from distill.heads.logistic import fit_logistic
from export import run
from tests.export_factory import random_encoder

MAX_LENGTH, DIMENSION = 48, 40
LAYOUTS = ("raxe-folder", "raxe-bundle", "raxe-0.15", "sentence-transformers")
FORMATS = ("fp32", "int8")
MADE: dict[str, Path] = {}


def make_source(folder: Path, corpus: Corpus, tokenizer_folder: Path) -> Path:
    """A checkpoint of a projected encoder."""
    encoder = random_encoder(4, DIMENSION)
    run_by_torch = TorchEncoder(encoder, TextTokenizer.open(tokenizer_folder, MAX_LENGTH))
    train, validation = (run_by_torch.encode(corpus.splits[name].texts) for name in ("train", "validation"))
    taxonomy = Taxonomy.of(corpus.splits["train"])
    heads = fit_logistic(train, corpus.splits["train"], taxonomy, Heads())
    classifier, scores = make_classifier(heads, validation, corpus, taxonomy, Heads())
    fields = {"parent": None, "seed": 7, "synthetic": True, "scores": scores, "provenance": {"command": ["test"]}}
    checkpoint.save(folder, encoder, classifier, MAX_LENGTH, tokenizer_folder, fields)
    return folder


def experiment(source: Path, output: Path, data: dict[str, list[str]], **export: Any) -> Experiment:
    whole = {"name": "tiny", "output": str(output), "checkpoint": str(source), "data": data, "export": export}
    return Experiment.model_validate(whole)


@pytest.fixture(scope="session")
def served(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_corpus: Corpus,
    tokenizer_folder: Path,
    data: dict[str, list[str]],
) -> Path:
    """The folder that holds the checkpoint `small` and its serving folders."""
    if "served" not in MADE:
        folder = tmp_path_factory.mktemp("layouts")
        source = make_source(folder / "small", tiny_corpus, tokenizer_folder)
        settings = {"formats": FORMATS, "layouts": LAYOUTS, "merge_heads": True, "parity": {"max_flip_rate": 0.5}}
        assert run.work(experiment(source, folder, data, **settings)) == 0
        MADE["served"] = folder
    return MADE["served"]
