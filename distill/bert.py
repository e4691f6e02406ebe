"""A BERT encoder's weights as an MPNet of the same hidden states, for MPNet's tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import UserError
from core.model import FIRST_POSITION, EncoderSpec, SentenceEncoder, build
from core.pretrained import DENSE, POOLING, weights

# MPNet's vocabulary is BERT's with these before it and <mask> behind it: a WordPiece keeps its id plus 4.
LEADING_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")
OFFSET = len(LEADING_TOKENS)
BERT_SPECIAL = {"<s>": "[CLS]", "<pad>": "[PAD]", "</s>": "[SEP]", "<unk>": "[UNK]", "<mask>": "[MASK]"}
RENAMED = {
    "attention.self.query": "attention.attn.q",
    "attention.self.key": "attention.attn.k",
    "attention.self.value": "attention.attn.v",
    "attention.output.dense": "attention.attn.o",
    "attention.output.LayerNorm": "attention.LayerNorm",
    "intermediate.dense": "intermediate.dense",
    "output.dense": "output.dense",
    "output.LayerNorm": "output.LayerNorm",
}


def is_bert(folder: Path) -> bool:
    """Whether `save_pretrained` left a BERT here."""
    return (folder / "config.json").is_file() and _read(folder / "config.json").get("model_type") == "bert"


def _read(path: Path) -> dict[str, Any]:
    """A JSON mapping; UserError for anything else."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}; save the model anew (save_pretrained)") from error
    if not isinstance(read, dict):
        raise UserError(f"{path} holds no mapping; save the model anew (save_pretrained)")
    return read


def vocabulary(folder: Path) -> list[str]:
    """Its tokens in the order of their ids."""
    path = folder / "vocab.txt"
    if not path.is_file():
        raise UserError(f"{folder} holds no vocab.txt; copy it there from the model's repository")
    return path.read_text(encoding="utf-8").splitlines()


def bert_encoder(folder: Path, layers: int | None = None, dropout: float = 0.1) -> SentenceEncoder:
    """The BERT as an MPNet, its first `layers` layers (null: all): the hidden states equal the original's to rounding.

    [CLS], [SEP], [PAD] and [MASK] lend their rows to <s>, </s>, <pad> and <mask>; token type 0 is folded into the
    positions, which start at 2; the relative bias is zero. UserError: another activation, another pooling than the
    mean of the tokens, or a configuration, vocabulary and weights that do not belong together.
    """
    _refuse_other_steps(folder)
    try:
        return _converted(folder, layers, dropout)
    except KeyError as error:
        raise UserError(
            f"{folder} is no whole BERT: {error} is missing; save the model anew (save_pretrained)"
        ) from error
    except (TypeError, ValueError, IndexError, RuntimeError) as error:  # torch names an unlike shape by RuntimeError
        why = " ".join(str(error).split())
        raise UserError(f"{folder}: configuration, vocabulary and weights do not belong together: {why}") from error


def _converted(folder: Path, layers: int | None, dropout: float) -> SentenceEncoder:
    """KeyError, TypeError, ValueError, IndexError or RuntimeError for a folder that is not as BERT's are."""
    config = _read(folder / "config.json")
    stored = {key.removeprefix("bert."): value for key, value in weights(folder / "model.safetensors").items()}
    words = stored["embeddings.word_embeddings.weight"]  # (tokens, hidden)
    width, known = words.shape[1], vocabulary(folder)
    spec = EncoderSpec(
        layers=config["num_hidden_layers"] if layers is None else layers,
        hidden_size=width,
        attention_heads=config["num_attention_heads"],
        intermediate_size=config["intermediate_size"],
        vocabulary_size=OFFSET + len(known) + 1,
        max_positions=FIRST_POSITION + config["max_position_embeddings"],
        layer_norm_eps=config["layer_norm_eps"],
        dropout=dropout,
    )
    ids = {token: index for index, token in enumerate(known)}
    extra = {token: words[ids[bert]] for token, bert in BERT_SPECIAL.items()}
    table = torch.cat([torch.stack([extra[token] for token in LEADING_TOKENS]), words, extra["<mask>"][None]])
    positions = stored["embeddings.position_embeddings.weight"] + stored["embeddings.token_type_embeddings.weight"][0]
    state = {
        "embeddings.word_embeddings.weight": table,
        "embeddings.position_embeddings.weight": torch.cat([torch.zeros(FIRST_POSITION, width), positions]),
        "embeddings.LayerNorm.weight": stored["embeddings.LayerNorm.weight"],
        "embeddings.LayerNorm.bias": stored["embeddings.LayerNorm.bias"],
        "encoder.relative_attention_bias.weight": torch.zeros(spec.relative_attention_buckets, spec.attention_heads),
    }
    for layer in range(spec.layers):
        state |= _layer(stored, layer)
    encoder = build(spec)
    encoder.transformer.load_state_dict(state)
    return encoder


def _layer(stored: dict[str, Tensor], layer: int) -> dict[str, Tensor]:
    """One BERT layer under MPNet's names."""
    prefix = f"encoder.layer.{layer}."
    parts = [(f"{old}.{kind}", f"{new}.{kind}") for old, new in RENAMED.items() for kind in ("weight", "bias")]
    return {prefix + new: stored[prefix + old] for old, new in parts}


def _refuse_other_steps(folder: Path) -> None:
    """UserError for what the MPNet would silently do otherwise."""
    activation = _read(folder / "config.json").get("hidden_act", "gelu")
    if activation != "gelu":
        raise UserError(f"{folder} computes with {activation}; only BERT's gelu is supported")
    pooling = folder / POOLING / "config.json"
    modes = _read(pooling) if pooling.is_file() else {}
    chosen = [name for name, value in modes.items() if name.startswith("pooling_mode_") and value is True]
    if chosen not in ([], ["pooling_mode_mean_tokens"]) or (folder / DENSE).is_dir():
        steps = ", ".join(chosen) or "a Dense module"
        raise UserError(f"{folder} makes its embedding by {steps}; only the mean of a BERT's tokens is supported")
