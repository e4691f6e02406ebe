"""Scores of many texts: those that a layer decides, those of the model, and of decoded views beside the texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from core.decode.view import View, decoded
from core.heads import HeadScores
from core.layer import Layer, without_encoded
from core.rows import Taxonomy
from core.serving import Serving

Model = Callable[[Sequence[str]], HeadScores]
Reads = Callable[[Sequence[str]], Sequence[Sequence[int]]]


def scores_of_many(
    texts: Sequence[str], taxonomy: Taxonomy, serving: Serving, layer: Layer | None, model: Model, reads: Reads
) -> HeadScores:
    """As a call of the pipeline gives them one by one; `reads` says what the model reads of texts, as ids."""
    views = views_of(texts, serving)
    verdicts = verdicts_of(texts, views, serving, layer)
    left = [place for place, verdict in enumerate(verdicts) if verdict is None]
    scores = HeadScores(
        np.zeros(len(texts)),
        np.zeros((len(texts), len(taxonomy.families))),
        np.zeros((len(texts), len(taxonomy.subfamilies))),
    )
    if left:
        _put(scores, left, model([texts[place] for place in left]))
    seen = {place: view.text for place in left if (view := views[place]) and differs(texts[place], view, reads)}
    if seen:
        scores = with_views(scores, model(list(seen.values())), list(seen), serving)
    return joined(scores, verdicts)


def views_of(texts: Sequence[str], serving: Serving) -> list[View | None]:
    """Their decoded views, where these are read at all."""
    return [decoded(text) if serving.decode else None for text in texts]


def verdicts_of(
    texts: Sequence[str], views: Sequence[View | None], serving: Serving, layer: Layer | None
) -> list[HeadScores | None]:
    """What the layer decides; None for each text that the model sees."""
    verdicts = layer.judge_all(texts) if layer else [None] * len(texts)
    return [without_encoded(verdict, view, serving.decode) for verdict, view in zip(verdicts, views, strict=True)]


def joined(scores: HeadScores, verdicts: Sequence[HeadScores | None]) -> HeadScores:
    """The model's scores of all texts with the layer's in place of them where it decides."""
    whole = HeadScores(scores.attack.copy(), scores.family.copy(), scores.subfamily.copy())
    for place, verdict in enumerate(verdicts):
        if verdict is not None:
            _put(whole, [place], verdict)
    return whole


def differs(text: str, view: View, reads: Reads) -> bool:
    """Whether the model reads anything else in the view; tokenizers drop zero-width characters by themselves."""
    raw, seen = reads([text, view.text])
    return raw != seen


def with_views(raw: HeadScores, views: HeadScores, rows: Sequence[int], serving: Serving) -> HeadScores:
    """raw: scores of all texts; views: of the decoded views of those at `rows`.

    `beside` can only raise a score: that a text is encoded counts for as much as the model makes of it, and what it
    says counts as if it stood there openly. `instead`, only what it says counts. Family and sub-family stay those of
    the text, since only it shows the encoding.
    """
    attack, seen = raw.attack.copy(), moved(views.attack, serving.decoded_limit)
    attack[rows] = seen if serving.decode == "instead" else np.maximum(attack[rows], seen)
    return replace(raw, attack=attack)


def moved(attack: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Probabilities whose log-odds are moved so that `limit` comes to stand at 0.5, where consumers look."""
    if limit == 0.5:
        return attack
    inside = np.clip(attack, 1e-12, 1 - 1e-12)
    odds = inside / (1 - inside) * (1 - limit) / limit
    return odds / (1 + odds)


def _put(into: HeadScores, rows: Sequence[int], scores: HeadScores) -> None:
    for name in ("attack", "family", "subfamily"):
        getattr(into, name)[rows] = getattr(scores, name)
