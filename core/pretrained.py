"""An encoder on disk in the layout of `SentenceTransformer.save_pretrained`: write it, read its spec, rebuild it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.encoder_config import MODEL_TYPES, from_json, to_json
from core.errors import UserError
from core.folders import write_json
from core.model import EncoderSpec, SentenceEncoder, unfilled

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
POOLING = "1_Pooling"
DENSE = "2_Dense"
TOKEN_WEIGHTS = "reading.token_weights"  # by which excerpts are chosen
IDENTITY = "torch.nn.modules.linear.Identity"


def write_encoder(folder: Path, encoder: SentenceEncoder, max_length: int, tokenizer_folder: Path) -> None:
    """Writes the encoder as `SentenceTransformer.save_pretrained` would, in the type that its weights have."""
    spec = encoder.spec
    write_json(folder / "config.json", to_json(spec, encoder.dtype))
    weights = {name: value.detach().contiguous() for name, value in encoder.transformer.state_dict().items()}
    if encoder.reading is not None:
        weights[TOKEN_WEIGHTS] = encoder.reading.token_weights.contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    pooling = {"word_embedding_dimension": spec.hidden_size, "pooling_mode_mean_tokens": True}
    write_json(folder / POOLING / "config.json", pooling)
    steps = [("", "Transformer"), (POOLING, "Pooling")]
    if encoder.projection is not None:
        steps.append((DENSE, "Dense"))
        shape = {"in_features": spec.hidden_size, "out_features": spec.projection, "bias": False}
        activation = {"activation_function": IDENTITY}
        write_json(folder / DENSE / "config.json", shape | activation)
        dense = {"linear.weight": encoder.projection.weight.detach().contiguous()}
        save_file(dense, folder / DENSE / "model.safetensors", metadata={"format": "pt"})
    steps.append((f"{len(steps)}_Normalize", "Normalize"))
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(steps)
    ]
    write_json(folder / "modules.json", modules)
    write_length(folder, max_length)
    write_json(folder / "config_sentence_transformers.json", {"similarity_fn_name": "cosine"})
    copy_tokenizer(tokenizer_folder, folder)


def write_length(folder: Path, max_length: int) -> None:
    """States how many tokens sentence-transformers reads."""
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copies the tokenizer files that are there; tokenizer.json must be."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    if not (folder / "tokenizer.json").is_file():
        raise UserError(f"{source} holds no tokenizer.json; save its fast tokenizer there (tokenizer.save_pretrained)")


def read_spec(folder: Path) -> EncoderSpec:
    """The encoder's spec from config.json (and the Dense module's); UserError for what is neither an MPNet nor ours."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config.get("model_type") not in MODEL_TYPES:
            raise UserError(
                f"{folder} holds a {config.get('model_type')} model; only MPNet encoders are supported"
                " (for example sentence-transformers/all-mpnet-base-v2), and what this project wrote itself"
            )
        return from_json(config, _projection(folder))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{folder / 'config.json'} cannot be read as an MPNet configuration: {error}") from error


def _projection(folder: Path) -> int | None:
    """Width of the Dense module, None without one; UserError for steps that the encoder would not follow."""
    pooling, dense = folder / POOLING / "config.json", folder / DENSE / "config.json"
    if pooling.is_file():
        modes = json.loads(pooling.read_text(encoding="utf-8"))
        chosen = sorted(name for name, value in modes.items() if name.startswith("pooling_mode_") and value is True)
        if chosen != ["pooling_mode_mean_tokens"]:
            raise UserError(f"{pooling} asks {', '.join(chosen) or 'no pooling'}; only mean pooling is supported")
    if not dense.is_file():
        return None
    shape = json.loads(dense.read_text(encoding="utf-8"))
    if shape.get("bias", True) or shape.get("activation_function") != IDENTITY:
        raise UserError(f"{dense} has a bias or an activation; only a plain linear projection is supported")
    return int(shape["out_features"])


def weights(path: Path) -> dict[str, Tensor]:
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
    prefixed = weights(folder / "model.safetensors")
    stored = {name.removeprefix("mpnet."): value for name, value in prefixed.items()}
    expected = encoder.transformer.state_dict()
    if encoder.reading is not None:
        expected[TOKEN_WEIGHTS] = encoder.reading.token_weights
    wrong = [
        f"{name} is {tuple(stored[name].shape) if name in stored else 'missing'}, config.json asks {tuple(value.shape)}"
        for name, value in expected.items()
        if name not in stored or stored[name].shape != value.shape
    ]
    deeper = [name for name in stored if name.startswith("encoder.layer.") and name not in expected]
    if wrong or deeper:
        detail = wrong[0] if wrong else f"{deeper[0]} has no place in a model of {spec.layers} layers"
        raise UserError(f"{folder}: the weights have another shape than config.json says: {detail}")
    if encoder.reading is not None:
        encoder.reading.load_state_dict({"token_weights": stored[TOKEN_WEIGHTS].to(torch.uint8)}, assign=True)
        del expected[TOKEN_WEIGHTS]
    encoder.transformer.load_state_dict({name: stored[name] for name in expected}, assign=True)
    if encoder.projection is not None:
        dense = weights(folder / DENSE / "model.safetensors").get("linear.weight")
        asked = encoder.projection.weight.shape
        if dense is None or dense.shape != asked:
            found = "missing" if dense is None else tuple(dense.shape)
            raise UserError(f"{folder / DENSE}: linear.weight is {found}, config.json asks {tuple(asked)}")
        encoder.projection.load_state_dict({"weight": dense}, assign=True)
    kept = stored["embeddings.word_embeddings.weight"].dtype
    return encoder.to(dtype or kept)
