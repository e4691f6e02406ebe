"""Mine hard negatives: benign texts, by the teacher's word, that a student flags, as rows to train it on again."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import cli
from core.errors import UserError
from core.schema import Data, Experiment, Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from core.pipeline import Pipeline

FILE, ACCOUNT = "hard_negatives.jsonl", "hard_negatives.json"
TOGETHER = 512  # texts


def ask(pipeline: Pipeline, texts: Sequence[str], name: str) -> NDArray[np.float64]:
    """The attack probability, as served, of each text, (texts,); longest first, so that little is padded."""
    import numpy as np
    from tqdm import tqdm

    found = np.zeros(len(texts))
    order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
    with tqdm(total=len(texts), unit="text", desc=f"{name} {pipeline.model_id}") as progress:
        for start in range(0, len(order), TOGETHER):
            part = order[start : start + TOGETHER]
            found[part] = pipeline.classify([texts[index] for index in part]).attack_probability
            progress.update(len(part))
    return found


def _ask(folder: Path, texts: Sequence[str], name: str) -> NDArray[np.float64]:
    """`ask` of the checkpoint in a folder, on all cores."""
    from core.pipeline import open_pipeline
    from core.provenance import hardware

    pipeline = open_pipeline(folder)
    pipeline.use_threads(hardware()["cores"])
    return ask(pipeline, texts, name)


def write(output: Path, rows: Sequence[Mapping[str, object]], account: Mapping[str, Any]) -> Path:
    """Writes the rows and, beside them, how they were found; each file is whole or as it was. Returns the rows'."""
    from core.folders import atomic_write

    atomic_write(output / ACCOUNT, json.dumps(account, indent=2, ensure_ascii=False) + "\n")
    path = output / FILE
    atomic_write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def refuse_to_overwrite(path: Path, data: Data, texts: Sequence[Source]) -> None:
    """UserError where the file to write is one that this run reads: an earlier round's texts would be lost."""
    sources = [*data.pool, *data.train, *data.validation, *data.test, *data.unlabelled, *texts]
    for source in (*sources, *(source for sources in data.extra.values() for source in sources)):
        if source.path is not None and path.resolve() in (source.path.resolve(), source.path.resolve() / path.name):
            raise UserError(
                f"{path} would be written over, but the data are read from it: give this round output=ANOTHER_FOLDER"
            )


def work(experiment: Experiment, arguments: argparse.Namespace | None = None) -> int:
    """Writes <output>/hard_negatives.jsonl."""
    # Imported here so that --help and mistakes in the configuration do not wait for the model libraries.
    from core import manifest
    from core.config import resolved
    from core.data import load
    from core.folders import writable
    from core.provenance import provenance
    from core.rows import Taxonomy
    from distill.hard_negatives import Judged, as_rows, attack_shares, counts, hard_negatives, summary

    mining, output = experiment.mining, experiment.output
    if mining.teacher is None or experiment.checkpoint is None:
        raise UserError("a student and a teacher are compared: add checkpoint=STUDENT_FOLDER mining.teacher=FOLDER")
    found_in = mining.texts or experiment.data.unlabelled
    if not found_in:
        raise UserError(
            "there are no texts to look through: add mining.texts, or data.unlabelled, to the configuration"
        )
    refuse_to_overwrite(output / FILE, experiment.data, found_in)
    folders = {"student": experiment.checkpoint, "teacher": mining.teacher}
    digests = {name: manifest.read(folder).digest for name, folder in folders.items()}
    if digests["student"] == digests["teacher"]:
        raise UserError(
            f"{folders['student']} and {folders['teacher']} are the same model, which never contradicts itself"
        )
    writable(output)
    corpus = load(experiment.data.model_copy(update={"unlabelled": found_in}), experiment.seed)
    print(corpus.describe(), flush=True)
    taxonomy = Taxonomy.of(corpus.splits["train"])
    texts, sources = corpus.unlabelled, corpus.unlabelled_sources
    student = _ask(folders["student"], texts, "student")
    flagged = [place for place, probability in enumerate(student) if probability >= mining.student_threshold]
    texts, sources = (tuple(column[place] for place in flagged) for column in (texts, sources))
    teacher = _ask(folders["teacher"], texts, "teacher")
    judged = Judged(texts, sources, student[flagged], teacher, attack_shares(sources, corpus.splits["train"]))
    chosen = hard_negatives(judged, mining)[: mining.max_texts]
    models = {name: {"folder": str(folder), "digest": digests[name]} for name, folder in folders.items()}
    made_of = provenance(resolved(experiment), experiment.seed, corpus.fingerprints)
    said = {"texts": len(student)} | counts(judged, mining) | {"written": len(chosen)}
    account = {**models, "counts": said, "provenance": made_of}
    path = write(output, as_rows(judged, chosen, taxonomy, experiment.data), account)
    print("\n".join(summary(judged, chosen, mining)))
    print(f"{path}: {len(chosen)} benign rows; {_next(experiment.data, path)}")
    return 0


def _next(data: Data, path: Path) -> str:
    if data.train:
        return f"to train on them, add {path} to data.train"
    # In a pool some would become validation and test, and the teacher the judge of its own student.
    return "add them to a data.train beside given validation rows, not to a pool that is split"


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="distill.mine",
        purpose=(
            "Find hard negatives: texts without labels that the student (checkpoint) flags and a teacher calls clearly"
            f" benign. Writes them to <output>/{FILE} as benign rows, and how they were found to"
            f" <output>/{ACCOUNT}. Then train again with the first as a further source of data.train."
        ),
        sections=("checkpoint", "output", "seed", "mining", "data"),
        needs_checkpoint=True,
        examples=[
            "python -m distill.mine --config configs/threats.yaml checkpoint=artifacts/threats/student"
            " mining.teacher=artifacts/threats/teacher mining.texts=[../shared/data/threats/unlabelled.jsonl]",
            "python -m distill.train --config configs/threats.yaml output=artifacts/second"
            " data.train=[../shared/data/threats/train.jsonl,artifacts/threats/hard_negatives.jsonl]",
        ],
    )


if __name__ == "__main__":
    main()
