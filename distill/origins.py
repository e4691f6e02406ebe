"""The teacher before its training: grown from MiniLM or from a checkpoint, or loaded from a folder or the hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from core import manifest
from core.errors import UserError
from core.model import EncoderSpec, SentenceEncoder, unfilled
from core.pretrained import load_encoder
from core.schema import Teacher
from core.tokenizer import TextTokenizer
from distill.bert import bert_encoder, is_bert, vocabulary
from distill.grow import grow
from distill.minilm import minilm_encoder, minilm_folder, write_mpnet_tokenizer

SAMPLE_TEXTS = 64  # on which a grown teacher takes its statistics
WANTED = ["*.json", "*.safetensors", "vocab.txt", "1_Pooling/*", "2_Dense/*"]


def locate(name_or_path: str) -> Path:
    """The folder of a pretrained encoder: a local one, or a snapshot of a hub repository.

    Raises UserError with the two remedies when it is neither here nor reachable.
    """
    folder = Path(name_or_path)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download  # only this branch touches the hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name_or_path, allow_patterns=WANTED))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise UserError(
            f"teacher.name_or_path {name_or_path!r} is no local folder and could not be fetched from the Hugging Face"
            f" hub ({type(error).__name__}): either run once on a machine with network access (the hub cache, HF_HOME,"
            " then serves it offline), or copy its save_pretrained folder here and set teacher.name_or_path=FOLDER"
        ) from error


def lineage(config: Teacher) -> dict[str, Any]:
    """What the teacher starts from, for recipe and manifest: another file behind the same name is another teacher."""
    folder = locate(config.name_or_path) if config.name_or_path else minilm_folder()
    if (folder / manifest.NAME).is_file():
        return manifest.read(folder).lineage  # all of it: heads and projection count, too
    weights = folder / "model.safetensors"  # absent: `initial` says so
    name = config.name_or_path or "all-MiniLM-L6-v2"
    return {"name": name, "digest": manifest.file_hash(weights) if weights.is_file() else ""}


def initial(config: Teacher, texts: Sequence[str], work: Path, seed: int) -> tuple[SentenceEncoder, Path]:
    """The FP32 teacher before fine-tuning and the folder that holds its tokenizer.

    texts: training texts (a grown teacher takes statistics on some); work: where a built tokenizer is written.
    """
    if config.name_or_path:
        encoder, tokenizer_folder = _pretrained(locate(config.name_or_path), work)
    else:
        encoder, tokenizer_folder = minilm_encoder(), minilm_tokenizer(work)
    if config.max_length > encoder.spec.max_positions - 2:
        raise UserError(
            f"teacher.max_length {config.max_length} is more than the {encoder.spec.max_positions - 2}"
            f" positions of {config.name_or_path}; lower it"
        )
    if config.origin == "grown":
        _refuse_other_reading(config, encoder.spec)
        sample = TextTokenizer.open(tokenizer_folder, config.max_length).encode(texts[:SAMPLE_TEXTS])
        encoder = grow(encoder, _larger(config, encoder.spec), config.noise, sample, seed)
    return _with_dropout(encoder, config.dropout), tokenizer_folder


def _pretrained(folder: Path, work: Path) -> tuple[SentenceEncoder, Path]:
    """An encoder of a local folder in FP32, verified where it is one of ours, and the folder of its tokenizer."""
    if (folder / manifest.NAME).is_file():
        manifest.read(folder)
    if not is_bert(folder):
        return load_encoder(folder, torch.float32), folder
    if vocabulary(folder) != vocabulary(minilm_folder()):
        raise UserError(f"{folder} is a BERT of another vocabulary than bert-base-uncased's, which MPNet's is made of")
    return bert_encoder(folder), minilm_tokenizer(work)


def _larger(config: Teacher, small: EncoderSpec) -> EncoderSpec:
    """The shape to grow `small` to; UserError where it cannot become that."""
    if small.architecture != "mpnet" or small.is_cut:
        raise UserError(
            f"teacher.name_or_path {config.name_or_path}: only an MPNet with all its heads and neurons can be grown;"
            " give one that was not pruned, or teacher.origin=pretrained to take it as it is"
        )
    if small.layers < 2:
        raise UserError(f"{config.name_or_path} has one layer, before which no other can grow: give one of two or more")
    if config.hidden_size % small.hidden_size or config.layers < small.layers:
        raise UserError(
            f"{config.name_or_path} has {small.layers} layers of {small.hidden_size} dimensions, which cannot grow to"
            f" teacher.layers {config.layers} and teacher.hidden_size {config.hidden_size}: give at least as many"
            " layers and a multiple of the dimensions"
        )
    factor = config.hidden_size // small.hidden_size
    wide = factor * small.intermediate_size
    return replace(small, layers=config.layers, hidden_size=config.hidden_size, intermediate_size=wide)


def _refuse_other_reading(config: Teacher, small: EncoderSpec) -> None:
    """UserError where excerpts of a text cut to `teacher.max_length` would be another thing than they were."""
    if small.excerpt and small.excerpt.tokens >= config.max_length:
        raise UserError(
            f"{config.name_or_path} reads {small.excerpt.tokens} tokens chosen from a text, and teacher.max_length"
            f" {config.max_length} leaves nothing to choose from: raise it to what it was made for"
        )


def minilm_tokenizer(work: Path) -> Path:
    """MiniLM's tokenizer as MPNet's, written into a folder below `work`; returns that folder."""
    folder = work / "mpnet-tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    write_mpnet_tokenizer(folder)
    return folder


def _with_dropout(encoder: SentenceEncoder, dropout: float) -> SentenceEncoder:
    """The same weights with another dropout."""
    changed = unfilled(replace(encoder.spec, dropout=dropout))
    changed.load_state_dict(encoder.state_dict(), assign=True)
    return changed
