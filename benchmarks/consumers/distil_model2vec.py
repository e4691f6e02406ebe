"""Run by an interpreter that has model2vec: distils an MPNet into token vectors; imports nothing of this project."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from model2vec.distill import distill_from_model
from safetensors.torch import load_file
from transformers import AutoTokenizer, MPNetConfig, MPNetModel


def main(student: Path, texts: Path, folder: Path) -> None:
    """student: a checkpoint of whole MPNet layers; texts: a JSON list to embed; folder: where all of it goes."""
    config = json.loads((student / "config.json").read_text(encoding="utf-8"))
    config.pop("model_type")  # one that reads excerpts has another, and its layers are an MPNet's all the same
    model = MPNetModel(MPNetConfig(**config), add_pooling_layer=False)
    lacking, _ = model.load_state_dict(load_file(student / "model.safetensors"), strict=False)
    if [name for name in lacking if not name.endswith("position_ids")]:
        raise SystemExit(f"{student} is not an MPNet of whole layers: {lacking[0]} is missing")
    static = distill_from_model(model, AutoTokenizer.from_pretrained(student), pca_dims=256, quantize_to="float32")
    vectors = static.embedding.astype(np.float32)
    if static.unk_token_id is not None:  # model2vec leaves unknown tokens out of the mean
        vectors[static.unk_token_id] = 0
    np.save(folder / "vectors.npy", vectors)
    static.tokenizer.save(str(folder / "tokenizer.json"))
    asked = json.loads(texts.read_text(encoding="utf-8"))
    np.save(folder / "embeddings.npy", static.encode(asked, max_length=512).astype(np.float32))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
