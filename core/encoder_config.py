"""An encoder's spec as `config.json` holds it: transformers' MPNetConfig, and what that has no words for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from core.architectures import ARCHITECTURES, Architecture
from core.spec import EncoderSpec, Excerpt

CUT = "raxe-mpnet"  # an MPNet whose layers differ, whose heads have a size of their own, or that reads excerpts
MODEL_TYPES: dict[str, Architecture] = {
    "mpnet" if name == "mpnet" else f"raxe-{name.replace('_', '-')}": name for name in ARCHITECTURES
} | {CUT: "mpnet"}
OURS = "transformers has no such architecture: core.pretrained.load_encoder alone rebuilds it, or serve the ONNX export"


def foreign(spec: EncoderSpec) -> str | None:
    """Why transformers, and so sentence-transformers, cannot open such an encoder, as a predicate; None: it can."""
    if spec.architecture != "mpnet":
        return f"is no MPNet but of the architecture {spec.architecture}"
    if spec.excerpt:
        return "reads excerpts"
    return "was pruned" if spec.is_cut else None


def to_json(spec: EncoderSpec, dtype: torch.dtype) -> dict[str, object]:
    """What transformers opens as an MPNet where it can; else a `model_type` that it refuses, and a note that says why.

    An MPNet that lost whole layers, or as many neurons in each, is one that transformers opens.
    """
    own = CUT if (spec.is_cut or spec.excerpt) and spec.architecture == "mpnet" else None
    kind = own or next(kind for kind, name in MODEL_TYPES.items() if name == spec.architecture)
    known: dict[str, object] = {"architectures": ["MPNetModel"]} if kind == "mpnet" else {"note": OURS}
    config = known | {
        "model_type": kind,
        "num_hidden_layers": spec.layers,
        "hidden_size": spec.hidden_size,
        "num_attention_heads": spec.attention_heads,
        "intermediate_size": spec.intermediate_size,
        "vocab_size": spec.vocabulary_size,
        "max_position_embeddings": spec.max_positions,
        "relative_attention_num_buckets": spec.relative_attention_buckets,
        "layer_norm_eps": spec.layer_norm_eps,
        "hidden_dropout_prob": spec.dropout,
        "attention_probs_dropout_prob": spec.dropout,
        "hidden_act": "gelu",
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "torch_dtype": str(dtype).removeprefix("torch."),
    }
    own_words = {
        "head_size": spec.head_size,
        "layer_heads": spec.layer_heads and [list(heads) for heads in spec.layer_heads],
        "layer_intermediate_sizes": spec.layer_intermediate_sizes and list(spec.layer_intermediate_sizes),
        "excerpt": spec.excerpt and asdict(spec.excerpt),
    }
    return config | {name: value for name, value in own_words.items() if value is not None}


def from_json(config: Mapping[str, Any], projection: int | None) -> EncoderSpec:
    """The inverse. KeyError or ValueError for what is missing or contradicts itself."""
    heads, widths = config.get("layer_heads"), config.get("layer_intermediate_sizes")
    return EncoderSpec(
        layers=config["num_hidden_layers"],
        hidden_size=config["hidden_size"],
        attention_heads=config["num_attention_heads"],
        intermediate_size=config["intermediate_size"],
        vocabulary_size=config["vocab_size"],
        max_positions=config["max_position_embeddings"],
        relative_attention_buckets=config.get("relative_attention_num_buckets", 32),
        layer_norm_eps=config.get("layer_norm_eps", 1e-12),  # transformers' default for MPNet
        dropout=config.get("hidden_dropout_prob", 0.1),
        projection=projection,
        architecture=MODEL_TYPES[config["model_type"]],
        head_size=config.get("head_size"),
        layer_heads=heads and tuple(tuple(one) for one in heads),
        layer_intermediate_sizes=widths and tuple(widths),
        excerpt=Excerpt(**config["excerpt"]) if "excerpt" in config else None,
    )
