"""Does the tokenizer fit a model that speaks MPNet's language? Class, vocabulary, special tokens, lower-casing, cut."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WHOLE = 30_527  # entries of MPNet's vocabulary
CLASSES = ("MPNetTokenizer", "MPNetTokenizerFast")
REFUSED = {  # by the beginning of the class
    "Bert": "BERT numbers the same word pieces from 0 where MPNet begins at 4, and puts [CLS] and [SEP] around a text:"
    " every token would be read as another",
    "DistilBert": "it is BERT's, which numbers the same word pieces from 0 where MPNet begins at 4",
    "Roberta": "RoBERTa splits bytes into 50,265 pieces and keeps upper case: its ids name nothing in MPNet's table",
    "XLMRoberta": "XLM-RoBERTa has 250,002 SentencePiece tokens: most ids lie outside MPNet's table",
    "GPT": "GPT has no padding token and no token around a text: the model would see texts without begin and end",
    "T5": "T5 pads with id 0, which is MPNet's <s>, and has SentencePiece tokens",
}
SPLITTERS = {"BPE": "RoBERTa's and GPT's", "Unigram": "T5's and XLM-RoBERTa's", "WordLevel": "whole words"}
SPECIAL = {"<s>": 0, "<pad>": 1, "</s>": 2}
MARKED = ("[UNK]", "<mask>")


def problems(folder: Path, stated: Mapping[str, Any], entries: int | None, obeyed: bool = False) -> list[str]:
    """What is wrong, a sentence each. stated: the manifest's `tokenizer`; entries: rows of the model's word table;
    obeyed: whether the consumer cuts texts where tokenizer.json says, and nowhere else.
    """
    settings = _read(folder / "tokenizer_config.json")
    rules = _read(folder / "tokenizer.json")
    if settings is None or rules is None:
        name = "tokenizer_config.json" if settings is None else "tokenizer.json"
        return [f"{name} is missing or no JSON: consumers cannot open the tokenizer; export again"]
    kind = str(settings.get("tokenizer_class"))
    found = [*_class(kind), *_model(rules)]
    if found:  # whatever else differs follows from that
        return found
    return [
        *_vocabulary(rules, stated, entries),
        *_special(rules),
        *_case(rules, settings),
        *_cut(rules, stated, obeyed),
    ]


def _class(kind: str) -> list[str]:
    if kind in CLASSES:
        return []
    reason = next((reason for begin, reason in REFUSED.items() if kind.startswith(begin)), "its ids are not MPNet's")
    return [f"the tokenizer is a {kind}, and the model reads MPNetTokenizer's ids: {reason}"]


def _model(rules: Mapping[str, Any]) -> list[str]:
    kind = (rules.get("model") or {}).get("type")
    if kind == "WordPiece":
        return []
    return [f"tokenizer.json splits by {kind} ({SPLITTERS.get(str(kind), 'unknown')}), MPNet by WordPiece"]


def _vocabulary(rules: Mapping[str, Any], stated: Mapping[str, Any], entries: int | None) -> list[str]:
    """The count that the manifest states, or MPNet's; and the model's table must have a row for each."""
    size, expected = len(_ids(rules)), int(stated.get("vocabulary_size", WHOLE))
    found = []
    if size != expected:
        found.append(f"the tokenizer has {size:,} entries, the manifest states {expected:,}")
    if entries is not None and size != entries:
        found.append(f"the tokenizer has {size:,} entries, the model's word table {entries:,} rows")
    return found


def _special(rules: Mapping[str, Any]) -> list[str]:
    """Ids that the encoder knows by number, the tokens around a text, and which one is unknown."""
    ids = _ids(rules)
    found = [
        f"{token} has id {ids.get(token)}, the encoder takes it for {number}"
        for token, number in SPECIAL.items()
        if ids.get(token) != number
    ]
    found += [f"the tokenizer has no {token}" for token in MARKED if token not in ids]
    if (unknown := rules["model"].get("unk_token")) != "[UNK]":
        found.append(f"unknown words become {unknown}, MPNet's become [UNK]")
    around = json.dumps(rules.get("post_processor"))
    if not all(f'"{token}"' in around for token in ("<s>", "</s>")):
        found.append("no <s> and </s> are put around a text (`post_processor` of tokenizer.json)")
    return found


def _case(rules: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    lower = (rules.get("normalizer") or {}).get("lowercase")
    if lower is True and settings.get("do_lower_case", True) is True:
        return []
    return ["the tokenizer does not lower-case, and the vocabulary holds lower case alone: names would become [UNK]"]


def _cut(rules: Mapping[str, Any], stated: Mapping[str, Any], obeyed: bool) -> list[str]:
    """A truncation of tokenizer.json's own that is shorter than the length that was judged, or obeyed and another."""
    cut, length = (rules.get("truncation") or {}).get("max_length"), (stated.get("config") or {}).get("max_length")
    if length is None or cut == length or (not obeyed and (cut is None or cut > length)):
        return []
    where = "nowhere" if cut is None else f"at {cut} tokens"
    return [f"tokenizer.json cuts texts {where}, the model was judged at {length}"]


def _ids(rules: Mapping[str, Any]) -> dict[str, int]:
    added = {token["content"]: token["id"] for token in rules.get("added_tokens") or ()}
    return {**rules["model"]["vocab"], **added}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
