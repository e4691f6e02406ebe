"""The teacher before its training: grown from MiniLM, or loaded from a folder or the hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

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


def origin_hash(config: Teacher) -> str:
    """SHA-256 of the weights that the teacher starts from: another file behind the same name is another teacher."""
    folder = minilm_folder() if config.origin == "grown" else locate(str(config.name_or_path))
    weights = folder / "model.safetensors"
    return manifest.file_hash(weights) if weights.is_file() else ""  # absent: `initial` says so


def initial(config: Teacher, texts: Sequence[str], work: Path, seed: int) -> tuple[SentenceEncoder, Path]:
    """The FP32 teacher before fine-tuning and the folder that holds its tokenizer.

    texts: training texts (a grown teacher takes statistics on some); work: where a built tokenizer is written.
    """
    if config.origin == "pretrained":
        folder = locate(str(config.name_or_path))
        if (folder / manifest.NAME).is_file():
            manifest.read(folder)  # one of ours: verify every hash first
        speaks_bert = is_bert(folder)
        if speaks_bert and vocabulary(folder) != vocabulary(minilm_folder()):
            raise UserError(
                f"{folder} is a BERT of another vocabulary than bert-base-uncased's, which MPNet's is made of"
            )
        encoder = bert_encoder(folder) if speaks_bert else load_encoder(folder, torch.float32)
        if config.max_length > encoder.spec.max_positions - 2:
            raise UserError(
                f"teacher.max_length {config.max_length} is more than the {encoder.spec.max_positions - 2}"
                f" positions of {folder}; lower it"
            )
        return _with_dropout(encoder, config.dropout), minilm_tokenizer(work) if speaks_bert else folder
    tokenizer_folder = minilm_tokenizer(work)
    sample = TextTokenizer.open(tokenizer_folder, config.max_length).encode(texts[:SAMPLE_TEXTS])
    spec = EncoderSpec(config.layers, config.hidden_size, 12, 4 * config.hidden_size)
    grown = grow(minilm_encoder(), spec, config.noise, sample, seed)
    return _with_dropout(grown, config.dropout), tokenizer_folder


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
