"""A self-describing folder: encoder in sentence-transformers' layout, tokenizer, heads, triggers and manifest."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from core import heads, manifest, triggers
from core.errors import UserError
from core.heads import LinearHead, OperatingPoint
from core.model import EncoderSpec, SentenceEncoder, unfilled
from core.rows import Taxonomy

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
RAW_HEADS = "heads.safetensors"  # before the operating point: what training goes on from
TAXONOMY = "taxonomy.json"
DENSE = "2_Dense"


@dataclass(frozen=True)
class Classifier:
    """Everything beside the encoder that turns an embedding into a decision."""

    heads: Mapping[str, LinearHead]
    point: OperatingPoint
    taxonomy: Taxonomy
    triggers: list[triggers.Trigger]


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the name `folder` when the block ends well: never a half-written checkpoint."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    temporary.mkdir()
    try:
        yield temporary
        old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.old")
        if folder.exists():
            os.replace(folder, old)
        os.replace(temporary, folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_encoder(folder: Path, encoder: SentenceEncoder, max_length: int, tokenizer_folder: Path) -> None:
    """Writes the encoder as `SentenceTransformer.save_pretrained` would, in the type that its weights have."""
    spec = encoder.spec
    config = {
        "architectures": ["MPNetModel"],
        "model_type": "mpnet",
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
        "torch_dtype": str(encoder.dtype).removeprefix("torch."),
    }
    _write_json(folder / "config.json", config)
    weights = {name: value.detach().contiguous() for name, value in encoder.transformer.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    pooling = {"word_embedding_dimension": spec.hidden_size, "pooling_mode_mean_tokens": True}
    _write_json(folder / "1_Pooling" / "config.json", pooling)
    steps = [("", "Transformer"), ("1_Pooling", "Pooling")]
    if encoder.projection is not None:
        steps.append((DENSE, "Dense"))
        shape = {"in_features": spec.hidden_size, "out_features": spec.projection, "bias": False}
        activation = {"activation_function": "torch.nn.modules.linear.Identity"}
        _write_json(folder / DENSE / "config.json", shape | activation)
        dense = {"linear.weight": encoder.projection.weight.detach().contiguous()}
        save_file(dense, folder / DENSE / "model.safetensors", metadata={"format": "pt"})
    steps.append((f"{len(steps)}_Normalize", "Normalize"))
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(steps)
    ]
    _write_json(folder / "modules.json", modules)
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    _write_json(folder / "config_sentence_transformers.json", {"similarity_fn_name": "cosine"})
    copy_tokenizer(tokenizer_folder, folder)


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copies the tokenizer files that are there; tokenizer.json must be."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    if not (folder / "tokenizer.json").is_file():
        raise UserError(f"{source} holds no tokenizer.json; save its fast tokenizer there (tokenizer.save_pretrained)")


def describe(point: OperatingPoint) -> dict[str, float]:
    """The operating point as the manifest holds it."""
    return {"threshold": point.threshold, **vars(point)}


def write_classifier(folder: Path, classifier: Classifier, max_length: int, raw: bool = True) -> None:
    """Writes the served heads, labels, triggers and metadata, and with `raw` the heads that training goes on from."""
    heads.write_linear_heads(folder, classifier.heads, classifier.point)
    weights = {
        # scikit-learn hands over column-major coefficients, which safetensors refuses
        f"{name}.{part}": torch.from_numpy(np.ascontiguousarray(getattr(head, part)))
        for name, head in classifier.heads.items()
        for part in ("weight", "bias")
    }
    if raw:
        save_file(weights, folder / RAW_HEADS)
    taxonomy = classifier.taxonomy
    names = {"family": taxonomy.families, "subfamily": taxonomy.subfamilies}
    encoders = {key: {str(index): name for index, name in enumerate(values)} for key, values in names.items()}
    _write_json(folder / "label_encoders.json", encoders)
    _write_json(folder / TAXONOMY, taxonomy.to_json())
    dimension = int(classifier.heads["binary"].weight.shape[1])
    metadata = {"embedding_dim": dimension, "max_length": max_length, "version": "0.1.0"}
    _write_json(
        folder / "model_metadata.json", metadata | {"embedding_model": "sentence-transformers/all-mpnet-base-v2"}
    )
    triggers.save(folder, classifier.triggers)


def save(
    folder: Path,
    encoder: SentenceEncoder,
    classifier: Classifier,
    max_length: int,
    tokenizer_folder: Path,
    fields: Mapping[str, Any],
) -> manifest.Manifest:
    """Writes a whole checkpoint, or nothing; `fields` go into the manifest (name, parent, seed, scores, provenance)."""
    with new_folder(folder) as temporary:
        write_encoder(temporary, encoder, max_length, tokenizer_folder)
        write_classifier(temporary, classifier, max_length)
        basis = {"version": "0.1.0", "status": "experimental", "kind": "torch"}
        shape = {"embedding_dim": encoder.spec.embedding_size, "max_length": max_length}
        point = {"operating_point": describe(classifier.point)}
        manifest.write(temporary, {"name": folder.name, **basis, **shape, **point, **fields})
    return manifest.read(folder)


def read_spec(folder: Path) -> EncoderSpec:
    """The encoder's spec from config.json (and the Dense module's); raises UserError for anything but an MPNet."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config.get("model_type") != "mpnet":
            raise UserError(
                f"{folder} holds a {config.get('model_type')} model; only MPNet encoders are supported"
                " (for example sentence-transformers/all-mpnet-base-v2)"
            )
        dense = folder / DENSE / "config.json"
        projection = json.loads(dense.read_text(encoding="utf-8"))["out_features"] if dense.is_file() else None
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
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder / 'config.json'} cannot be read as an MPNet configuration: {error}") from error


def _weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        pickled = (
            " (pytorch_model.bin is a pickle and is never loaded)"
            if (path.parent / "pytorch_model.bin").exists()
            else ""
        )
        raise UserError(f"{path} is missing{pickled}; save the model with save_pretrained(…, safe_serialization=True)")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path} is damaged: {error}") from error


def load_encoder(folder: Path, dtype: torch.dtype | None = None) -> SentenceEncoder:
    """Rebuilds an encoder from its spec; `dtype` None keeps the stored type.

    Reads our checkpoints and any MPNet folder of `save_pretrained` (transformers or sentence-transformers).
    Raises UserError where weights and configuration disagree.
    """
    spec = read_spec(folder)
    encoder = unfilled(spec)
    prefixed = _weights(folder / "model.safetensors")
    stored = {name.removeprefix("mpnet."): value for name, value in prefixed.items()}
    expected = encoder.transformer.state_dict()
    wrong = [
        f"{name} is {tuple(stored[name].shape) if name in stored else 'missing'}, config.json asks {tuple(value.shape)}"
        for name, value in expected.items()
        if name not in stored or stored[name].shape != value.shape
    ]
    deeper = [name for name in stored if name.startswith("encoder.layer.") and name not in expected]
    if wrong or deeper:
        detail = wrong[0] if wrong else f"{deeper[0]} has no place in a model of {spec.layers} layers"
        raise UserError(f"{folder}: the weights have another shape than config.json says: {detail}")
    encoder.transformer.load_state_dict({name: stored[name] for name in expected}, assign=True)
    if encoder.projection is not None:
        dense = _weights(folder / DENSE / "model.safetensors")["linear.weight"]
        encoder.projection.load_state_dict({"weight": dense}, assign=True)
    kept = stored["embeddings.word_embeddings.weight"].dtype
    return encoder.to(dtype or kept)


def load_classifier(folder: Path, fields: Mapping[str, Any]) -> Classifier:
    """Reads the raw heads, labels, triggers and operating point of a verified checkpoint."""
    raw = _weights(folder / RAW_HEADS)
    parts = {name: LinearHead(raw[f"{name}.weight"].numpy(), raw[f"{name}.bias"].numpy()) for name in heads.HEADS}
    taxonomy = Taxonomy.from_json(json.loads((folder / TAXONOMY).read_text(encoding="utf-8")))
    stored = fields["operating_point"]
    point = OperatingPoint(stored["logit"], stored["scale"], stored["max_false_positive_rate"])
    learned = list(triggers.TriggerMatcher.open(folder).triggers)
    return Classifier(parts, point, taxonomy, learned)
