"""The weights by which a long text's excerpt is chosen: how far each token speaks for an attack, from labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

from core.excerpt import HEAVIEST
from core.model import SentenceEncoder, unfilled
from core.spec import Excerpt

INVERSE_REGULARISATION = 30.0  # as the TF-IDF baseline's, chosen on validation
STEPS = 300  # of the solver, at most


def learn(tokens: Sequence[Sequence[int]], attacks: NDArray[np.integer], vocabulary_size: int) -> NDArray[np.uint8]:
    """(vocabulary,): positive coefficients of a logistic regression on counts of tokens, the largest as `HEAVIEST`.

    tokens: ids of each text, special ones included, which get no weight: a stretch is not chosen for its end.
    attacks: (texts,) 0 or 1. Counts enter as 1 + log, each text scaled to length 1.
    """
    counts = _counts(tokens, vocabulary_size)
    model = LogisticRegression(C=INVERSE_REGULARISATION, max_iter=STEPS, class_weight="balanced")
    coefficients = np.maximum(model.fit(normalize(counts), attacks).coef_[0], 0.0)
    coefficients[list({ids[place] for ids in tokens for place in (0, -1)})] = 0.0
    scaled = coefficients / max(coefficients.max(), np.finfo(np.float64).tiny) * HEAVIEST
    rounded: NDArray[np.uint8] = np.rint(scaled).astype(np.uint8)
    return rounded


def _counts(tokens: Sequence[Sequence[int]], vocabulary_size: int) -> csr_array:
    """(texts, vocabulary): 1 + log of how often each token stands in each text."""
    texts = np.repeat(np.arange(len(tokens)), [len(ids) for ids in tokens])
    ids = np.concatenate([np.asarray(ids, np.int64) for ids in tokens])
    counts = csr_array((np.ones(len(ids)), (texts, ids)), shape=(len(tokens), vocabulary_size))
    counts.sum_duplicates()
    counts.data = 1 + np.log(counts.data)
    return counts


def give(encoder: SentenceEncoder, excerpt: Excerpt, weights: NDArray[np.uint8]) -> SentenceEncoder:
    """The encoder, reading excerpts chosen by `weights`; its other weights are shared, not copied."""
    reader = unfilled(replace(encoder.spec, excerpt=excerpt))
    state = encoder.state_dict() | {"reading.token_weights": torch.from_numpy(weights)}
    reader.load_state_dict(state, assign=True)
    for name, buffer in encoder.named_buffers():  # those that no state holds stay as they are
        assert name in state or torch.equal(buffer, reader.get_buffer(name))
    return reader.train(encoder.training)
