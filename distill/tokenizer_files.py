"""The files of a WordPiece tokenizer: which tokens they cannot do without, and writing them with fewer tokens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from core.folders import write_json
from core.tokenizer import TextTokenizer

LEADING = 3  # <s>, <pad>, </s>: config.json, padding and position embeddings know them by number
WHOLE = 1_000_000  # tokens, more than any text has: pieces are counted beyond what the student reads


@dataclass(frozen=True)
class TokenizerFiles:
    """What the files of a folder say."""

    folder: Path
    tokenizer: TextTokenizer  # that cuts no text
    rules: Mapping[str, Any]
    """tokenizer.json."""
    settings: Mapping[str, Any]
    """tokenizer_config.json; empty without one."""

    @classmethod
    def open(cls, folder: Path) -> TokenizerFiles:
        """Reads them; UserError for a tokenizer whose tokens are no WordPieces."""
        tokenizer = TextTokenizer.open(folder, WHOLE)
        rules, path = tokenizer.rules(), folder / "tokenizer_config.json"
        if (kind := rules["model"]["type"]) != "WordPiece":
            raise UserError(
                f"student.vocabulary_size cuts WordPiece tokenizers and {folder} holds a {kind} one: write null"
            )
        return cls(folder, tokenizer, rules, json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {})

    @property
    def ids(self) -> dict[str, int]:
        """Every token with its id, added ones too."""
        return self.rules["model"]["vocab"] | {token["content"]: token["id"] for token in self.rules["added_tokens"]}

    def needed(self) -> set[int]:
        """Ids of the special tokens and of every character that is a piece, as a word's beginning or (`##`) within one.

        With these no word becomes unknown that was not: whatever pieces it had fall into characters.
        """
        model = self.rules["model"]
        prefix = model["continuing_subword_prefix"]
        characters = {number for token, number in model["vocab"].items() if len(token.removeprefix(prefix)) == 1}
        added = {token["id"] for token in self.rules["added_tokens"]}
        added |= set(map(int, self.settings.get("added_tokens_decoder", {})))
        around_a_text = self.tokenizer.encode([""])[0]
        return {*characters, *added, *around_a_text, model["vocab"][model["unk_token"]], *range(LEADING)}

    def write(self, target: Path, kept: NDArray[np.int64]) -> None:
        """The same files in `target` with the tokens `kept` alone, ascending; each new id is the place in `kept`."""
        new = {int(former): number for number, former in enumerate(kept)}
        ids = {token: new[former] for token, former in self.ids.items() if former in new}
        in_order = sorted(ids, key=ids.__getitem__)
        model, added = self.rules["model"], self.rules["added_tokens"]
        changed = {
            "model": model | {"vocab": {token: ids[token] for token in in_order if token in model["vocab"]}},
            "added_tokens": [token | {"id": ids[token["content"]]} for token in added],
            "post_processor": _renumbered(self.rules["post_processor"], ids),
        }
        write_json(target / "tokenizer.json", {**self.rules, **changed})
        settings = dict(self.settings)
        if decoder := settings.get("added_tokens_decoder"):
            settings["added_tokens_decoder"] = {str(new[int(former)]): token for former, token in decoder.items()}
        if settings:
            write_json(target / "tokenizer_config.json", settings)
        if (self.folder / "special_tokens_map.json").is_file():  # names alone
            shutil.copyfile(self.folder / "special_tokens_map.json", target / "special_tokens_map.json")
        if (self.folder / "vocab.txt").is_file():  # line i is token i
            (target / "vocab.txt").write_text("\n".join(in_order) + "\n", encoding="utf-8")


def _renumbered(part: Any, ids: Mapping[str, int]) -> Any:
    """A post-processor with other ids: `["</s>", 2]` of Roberta's and Bert's, `ids` beside `tokens` of a template."""
    match part:
        case [str(token), int()]:
            return [token, ids[token]]
        case {"ids": list(), "tokens": list(tokens)}:
            return part | {"ids": [ids[token] for token in tokens]}
        case dict():
            return {key: _renumbered(value, ids) for key, value in part.items()}
        case list():
            return [_renumbered(value, ids) for value in part]
        case _:
            return part
