"""Texts that a student flags against its teacher: which they are, what they are as rows, and what is said of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.decision import WARN
from core.rows import Rows, Taxonomy, normalise, text_hash
from core.schema import Data, Mining

SHOWN, WIDTH = 10, 90  # texts printed, characters of each
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Judged:
    """n distinct texts that the student flags, with the attack probabilities, as served, that both models give them.

    The teacher, mostly the slower model by far, is asked about no other.
    """

    texts: tuple[str, ...]
    sources: tuple[str, ...]
    student: NDArray[np.float64]  # (n,)
    teacher: NDArray[np.float64]  # (n,)
    attack_share: NDArray[np.float64]  # (n,): of the training rows of the text's source; 0 where it has none


def attack_shares(sources: Sequence[str], training: Rows) -> NDArray[np.float64]:
    """The share of attacks among the training rows of each source, (sources,); 0 for one without training rows."""
    rows, attacks = Counter(training.sources), Counter(np.asarray(training.sources)[training.labels == 1].tolist())
    return np.array([attacks[source] / max(rows[source], 1) for source in sources])


def hard_negatives(judged: Judged, mining: Mining) -> NDArray[np.int64]:
    """Positions of the texts that the teacher calls clearly benign, the student's surest first.

    On equal terms the teacher's surest comes first. A source that gives (nearly) nothing but attacks is not believed to
    have given a benign text. Training again on a model's own false alarms is hard negative mining as in Felzenszwalb
    et al. 2010 (PAMI 32, 1627), with the teacher in place of the annotator.
    """
    alarms = judged.teacher < mining.teacher_below
    found = np.flatnonzero(alarms & (judged.attack_share <= mining.max_attack_share))
    worst_first = np.lexsort((judged.teacher[found], -judged.student[found]))
    chosen: NDArray[np.int64] = found[worst_first]
    return chosen


def counts(judged: Judged, mining: Mining) -> dict[str, int]:
    """How many texts the student flags, the teacher flags as well, and count as hard negatives or not."""
    found = len(hard_negatives(judged, mining))
    return {
        "flagged_by_student": len(judged.texts),
        "flagged_by_both": int((judged.teacher >= WARN).sum()),
        "hard_negatives": found,
        "of_attack_sources": int((judged.teacher < mining.teacher_below).sum()) - found,
    }


def as_rows(judged: Judged, chosen: NDArray[np.int64], taxonomy: Taxonomy, data: Data) -> list[dict[str, object]]:
    """The chosen texts as benign rows that `data.train` reads beside the others, each a group of its own."""
    columns, rows = data.columns, []
    for position in chosen:
        text = judged.texts[position]
        row: dict[str, object] = {
            columns.text: text,
            columns.label: benign_label(data.label_map),
            columns.family: taxonomy.benign_family,
            columns.subfamily: taxonomy.benign_subfamily,
        }
        row.setdefault(columns.source or "source", f"mined:{judged.sources[position]}")
        row.setdefault(columns.group or "group", f"mined:{text_hash(normalise(text))[:24]}")
        for model in ("student", "teacher"):
            row[f"{model}_probability"] = round(float(getattr(judged, model)[position]), 6)
        rows.append(row)
    return rows


def benign_label(label_map: Mapping[str, int]) -> str | int:
    """A raw label that is read as benign: a word of `data.label_map` where that holds one, else 0."""
    return next((word for word, label in label_map.items() if label == 0), "false" if "0" in label_map else 0)


def summary(judged: Judged, chosen: NDArray[np.int64], mining: Mining) -> list[str]:
    """Counts, quantiles and the worst of the chosen texts, a line each."""
    said = counts(judged, mining)
    capped = (
        f", the {len(chosen)} that the student is surest of are kept" if len(chosen) < said["hard_negatives"] else ""
    )
    flagged, below = f"{mining.student_threshold:g}", f"{mining.teacher_below:g}"
    lines = [
        f"flagged by the student: {said['flagged_by_student']}, of these by the teacher: {said['flagged_by_both']}",
        f"hard negatives (student >= {flagged}, teacher < {below}): {said['hard_negatives']}{capped}",
        f"not believed (of sources with over {mining.max_attack_share:.0%} attacks): {said['of_attack_sources']}",
        f"{'quantiles':<30}" + "".join(f"{share:>8.0%}" for share in QUANTILES),
    ]
    everything = np.arange(len(judged.texts))
    for name, part in (("all flagged", everything), ("hard negatives", chosen)):
        for model in ("student", "teacher") if len(part) else ():
            values = np.quantile(getattr(judged, model)[part], QUANTILES)
            lines.append(f"  {f'{model}, {name}':<28}" + "".join(f"{value:8.4f}" for value in values))
    origins = Counter(judged.sources[position] for position in chosen).most_common(SHOWN)
    lines += ["most come from:", *(f"  {count:6} {source}" for source, count in origins)] if origins else []
    lines += ["the worst (student, teacher, source, text):"] if len(chosen) else []
    for position in chosen[:SHOWN]:
        text = " ".join(judged.texts[position].split())
        text = text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"
        lines.append(
            f"  {judged.student[position]:.4f} {judged.teacher[position]:.4f} {judged.sources[position]}: {text}"
        )
    return lines
