"""The encoder of a verified folder, by its kind; only PyTorch checkpoints import torch."""

from __future__ import annotations

from pathlib import Path

from core import manifest
from core.encoder import Encoder, OnnxEncoder
from core.errors import UserError


def open_encoder(folder: Path, verified: manifest.Manifest) -> tuple[Encoder, str]:
    """The encoder, and the precision it runs in, for a person to read."""
    match verified.kind:
        case "onnx":
            return OnnxEncoder(folder, verified.max_length), f"onnx {verified.fields.get('precision', '')}".strip()
        case "torch":
            # Local on purpose: serving folders open without torch.
            from core.pretrained import load_encoder
            from core.tokenizer import TextTokenizer
            from core.torch_encoder import TorchEncoder, in_running_type

            model = load_encoder(folder)
            stored = model.dtype
            model = in_running_type(model)
            precision = " run as ".join(dict.fromkeys(str(dtype)[6:] for dtype in (stored, model.dtype)))
            return TorchEncoder(model, TextTokenizer.open(folder, verified.max_length)), precision
        case "lexical":
            from core.lexical import LexicalEncoder  # local: the others do without

            return LexicalEncoder.open(folder, verified.max_length), "TF-IDF float32"
        case "ensemble":
            from core.ensemble import EnsembleEncoder  # local: it opens pipelines itself

            members = EnsembleEncoder.open(folder)
            return members, " + ".join(member.precision for member in members.members)
        case other:
            raise UserError(
                f"{folder}: unknown kind {other!r} in {manifest.NAME}; expected torch, onnx, lexical or ensemble"
            )
