"""The student's vocabulary cut to the pieces that its texts need, and its embeddings to match."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from core.encoder import PATIENCE
from core.errors import UserError
from core.folders import new_folder
from core.model import SentenceEncoder, unfilled
from core.tokenizer import TextTokenizer
from distill.tokenizer_files import TokenizerFiles

TOGETHER = 1024  # texts
PER_TOKEN = (
    "transformer.embeddings.word_embeddings.weight",
    "transformer.embeddings.token_weights",
    "reading.token_weights",
)


@dataclass(frozen=True)
class Cut:
    """A tokenizer with fewer tokens, and which."""

    folder: Path
    kept_ids: NDArray[np.int64]  # (size,) ascending: the former id of each


def cut(folder: Path, texts: Sequence[str], size: int, target: Path) -> Cut:
    """Writes the tokenizer of `folder`, cut to `size` tokens, into `target`; the same texts give the same tokenizer.

    Kept are the special tokens, every single character, and then the pieces most frequent in `texts`, in their former
    order. A word whose piece is gone falls into shorter ones. After Abdaoui et al. 2020, "Load what you need" (arXiv
    2010.05609), who so cut a vocabulary to one language of many.
    Raises UserError for a tokenizer without WordPieces and for a size that leaves no room for what must be kept.
    """
    files = TokenizerFiles.open(folder)
    needed = _needed(files, size)
    kept = _most_frequent(files.ids.values(), needed, _counts(files.tokenizer, texts), size)
    with new_folder(target) as temporary:
        files.write(temporary, kept)
    return Cut(target, kept)


def verify(folder: Path, size: int) -> None:
    """Raises UserError where `cut` would, before anything is counted."""
    _needed(TokenizerFiles.open(folder), size)


def _needed(files: TokenizerFiles, size: int) -> set[int]:
    """The ids that every cut keeps; UserError where they are more than `size`, or all tokens are fewer."""
    needed, most = files.needed(), len(files.ids)
    if not len(needed) <= size <= most:
        raise UserError(
            f"student.vocabulary_size {size} does not fit the tokenizer of {files.folder}: {len(needed)} special tokens"
            f" and single characters must stay, and it has {most} in all; choose a size between, or null for all"
        )
    return needed


def _counts(tokenizer: TextTokenizer, texts: Sequence[str]) -> Counter[int]:
    """How often each id stands in the texts."""
    counts = Counter[int]()
    starts = range(0, len(texts), TOGETHER)
    for start in tqdm(starts, desc="counting word pieces", unit="k texts", delay=PATIENCE, leave=False):
        counts.update(chain.from_iterable(tokenizer.encode(texts[start : start + TOGETHER])))
    return counts


def _most_frequent(
    ids: Collection[int], needed: Collection[int], counts: Mapping[int, int], size: int
) -> NDArray[np.int64]:
    """`size` of the ids, ascending: the needed ones, then the most frequent; of equally frequent ones the lower id."""
    ranked = sorted(set(ids) - set(needed), key=lambda number: (-counts[number], number))
    return np.sort(np.array([*needed, *ranked[: size - len(needed)]], np.int64))


def slice_embeddings(encoder: SentenceEncoder, kept_ids: NDArray[np.int64]) -> SentenceEncoder:
    """A copy for the cut tokenizer: on its ids it gives what `encoder` gives on the former ones.

    Raises UserError where the tokenizer had tokens that the encoder has no embedding for.
    """
    embedded = encoder.spec.vocabulary_size
    if kept_ids[-1] >= embedded:
        raise UserError(
            f"the tokenizer has a token {kept_ids[-1]}, but the encoder embeds 0 to {embedded - 1} only: they do not"
            " belong together, so give a folder that both were saved in"
        )
    rows = torch.from_numpy(kept_ids)
    fewer = unfilled(replace(encoder.spec, vocabulary_size=len(rows)))
    state = {
        name: value[rows.to(value.device)] if name in PER_TOKEN else value.clone()
        for name, value in encoder.state_dict().items()
    }
    fewer.load_state_dict(state, assign=True)
    return fewer.train(encoder.training)
