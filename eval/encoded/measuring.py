"""Draws texts that are not encoded, writes each in every form, and asks the checkpoint in every way of reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from core.decision import WARN
from core.decode.view import READ, decoded
from core.errors import UserError
from core.pipeline import Pipeline
from core.provenance import hardware, timestamp
from core.rows import Rows
from eval.encoded.forms import FORMS, PLAIN
from eval.metrics import wilson
from eval.models import described
from eval.schema import SYNTHETIC, Hardware
from eval.schema.encodings import Encodings, Flagged, Reading
from eval.significance import mcnemar

TEXTS = 300
"""Of each label."""
CHARACTERS = READ // 4
"""What is left of a text: a URL takes three characters for one, and letters beyond ASCII more."""
READINGS: tuple[Reading, ...] = ("raw", "beside", "instead")


def drawn(rows: Rows, label: int, seed: int) -> tuple[str, ...]:
    """At most `TEXTS` texts of a label, cut, of those that no decoder finds anything in. UserError: there is none."""
    cut = [text[:CHARACTERS] for text, of in zip(rows.texts, rows.labels, strict=True) if of == label]
    there = [text for text in cut if decoded(text) is None]
    if not there:
        raise UserError(f"no text with the label {label} stands in the open: choose another evaluation.split")
    chosen = np.random.default_rng(seed).permutation(len(there))[:TEXTS]
    return tuple(there[place] for place in sorted(chosen))


def measure(
    pipeline: Pipeline,
    rows: Rows,
    split: str,
    seed: int,
    *,
    synthetic: bool,
    provenance: Mapping[str, Any],
) -> Encodings:
    """Attacks and benign texts in every form and reading, each as the folder is served but for the reading: behind its
    own first layer, where it has one; writes nothing."""
    pipeline.use_threads(hardware()["cores"])
    serving = pipeline.serving
    readers = {way: pipeline.served(replace(serving, decode=None if way == "raw" else way)) for way in READINGS}
    progress = tqdm(total=2 * len(FORMS) * len(READINGS), desc="forms", unit="form", delay=2)
    found = {label: _asked(readers, drawn(rows, label, seed), progress) for label in (1, 0)}
    progress.close()
    return Encodings(
        timestamp=timestamp(),
        model=described(pipeline),
        split=split,
        seed=seed,
        characters=CHARACTERS,
        decoded_limit=serving.decoded_limit,
        first_layer=serving.first_layer,
        attacks=found[1],
        benign=found[0],
        synthetic=SYNTHETIC if synthetic else None,
        hardware=Hardware.model_validate(hardware()),
        provenance=dict(provenance),
    )


def _asked(
    readers: Mapping[Reading, Pipeline], texts: Sequence[str], progress: tqdm
) -> dict[str, dict[Reading, Flagged]]:
    """Each form of the texts, asked of each reader."""
    said: dict[str, dict[Reading, NDArray[np.bool_]]] = {}
    for form, write in FORMS.items():
        written, said[form] = [write(text) for text in texts], {}
        for way, reader in readers.items():
            said[form][way] = reader.classify(written).attack_probability >= WARN
            progress.update()
    return {form: {way: counted(flags, said[PLAIN][way]) for way, flags in of.items()} for form, of in said.items()}


def counted(flags: NDArray[np.bool_], plain: NDArray[np.bool_]) -> Flagged:
    """flags, plain: (texts,), in a form and as they stand."""
    flagged, newly, no_longer = int(flags.sum()), int((flags & ~plain).sum()), int((plain & ~flags).sum())
    return Flagged(
        texts=len(flags),
        flagged=flagged,
        share=flagged / len(flags),
        interval=wilson(flagged, len(flags)),
        newly=newly,
        no_longer=no_longer,
        p_value=mcnemar(newly, no_longer),
    )
