"""The lexical encoder fitted on training texts, and its embeddings as a sparse matrix to fit heads on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import CountVectorizer
from tqdm import tqdm

from core.encoder import PATIENCE
from core.errors import UserError
from core.lexical import Block, LexicalEncoder, Ngrams
from core.schema import Lexical


def fit_encoder(texts: Sequence[str], config: Lexical) -> LexicalEncoder:
    """Vocabulary and inverse document frequencies of the training texts; UserError where no term is frequent enough."""
    read = [text[: config.max_characters] for text in texts]
    blocks = []
    if config.word_ngrams is not None:
        ngrams = Ngrams("word", *config.word_ngrams)
        blocks.append(fit_block(read, ngrams, config.word_features, config.min_texts))
    if config.character_ngrams is not None:
        ngrams = Ngrams("character", *config.character_ngrams)
        blocks.append(fit_block(read, ngrams, config.character_features, config.min_texts))
    return LexicalEncoder(blocks, config.sublinear, config.max_characters)


def fit_block(texts: Sequence[str], ngrams: Ngrams, limit: int, min_texts: int) -> Block:
    """The `limit` most frequent terms, of equals the first in the alphabet, with scikit-learn's smoothed idf."""
    counter = CountVectorizer(analyzer=ngrams, min_df=min_texts, dtype=np.int32)
    try:
        counts = counter.fit_transform(texts).tocsr()  # (texts, terms)
    except ValueError as error:  # scikit-learn found no term at all, or none that is frequent enough
        raise UserError(
            f"no {ngrams.unit} n-gram of length {ngrams.shortest} to {ngrams.longest} stands in {min_texts} or more of"
            f" the {len(texts)} training texts: lower lexical.min_texts or set lexical.{ngrams.unit}_ngrams to null"
        ) from error
    frequency = np.asarray(counts.sum(0)).ravel()
    holders = np.bincount(counts.indices, minlength=counts.shape[1])  # texts with the term
    kept = np.argsort(-frequency, kind="stable")[:limit]
    idf = np.log((1 + len(texts)) / (1 + holders[kept])) + 1
    return Block(ngrams, tuple(counter.get_feature_names_out()[kept].tolist()), idf.astype(np.float32))


def sparse_embeddings(encoder: LexicalEncoder, texts: Sequence[str]) -> csr_array:
    """What `encoder.encode` gives, (texts, dim), without its zeros: 30,000 texts would take 11 GB with them."""
    shown = tqdm(texts, desc="weighing terms", unit="text", delay=PATIENCE, leave=False)
    rows = [encoder.weigh(encoder.tokenise([text])[0]) for text in shown]
    columns, weights = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    starts = np.cumsum([0, *(len(of_row) for of_row, _ in rows)])
    # 32-bit indices, which scikit-learn's solvers ask for
    parts = (weights, columns.astype(np.int32), starts.astype(np.int32))
    return csr_array(parts, shape=(len(texts), encoder.dimension))
