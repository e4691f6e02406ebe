"""What each loss is worth: one student trained anew for every row of a table, all judged on the same validation."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.command import CONFIG_HELP, OVERRIDE_HELP
from core import cli
from core.config import load
from core.errors import UserError
from core.schema.losses import LABEL_TERMS, SENTENCE_TERMS, TOKEN_TERMS

if TYPE_CHECKING:  # imported inside the functions, so that --help does not wait for the libraries
    from numpy.typing import NDArray

    from core.rows import Rows
    from core.schema import Experiment

OFF = dict.fromkeys((*LABEL_TERMS, *SENTENCE_TERMS, *TOKEN_TERMS), "0")
EMBEDDING = {"embedding_cosine": "1.0"}
RELATIONS = EMBEDDING | {"relations": "1.0"}
HIDDEN = RELATIONS | {"hidden_mse": "1.0"}
LOGITS = HIDDEN | {"logits_kd": "1.0", "task": "1.0"}
CONTRASTIVE = LOGITS | {"contrastive": "0.2"}
ROWS: dict[str, Mapping[str, str]] = {
    "plain fine-tuning": {"task": "1.0"},
    "embedding only": EMBEDDING,
    "+ relations": RELATIONS,
    "+ hidden states": HIDDEN,
    "+ logits and labels": LOGITS,
    "+ contrastive": CONTRASTIVE,
    "+ hard negatives": CONTRASTIVE,
    "embedding, logits and labels": EMBEDDING | {"logits_kd": "1.0", "task": "1.0"},
    "logits and labels alone": {"logits_kd": "1.0", "task": "1.0"},
}
BASELINE, MINED = "plain fine-tuning", "+ hard negatives"
MINED_FROM = "+ contrastive"


def folder_of(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name).strip("_")


def overrides(name: str, base: Experiment, mined: Path | None = None) -> list[str]:
    """What a row changes in the configuration; `mined`: hard negatives to train on, too."""
    weights = OFF | dict(ROWS[name])
    changed = [f"losses.{term}={weight}" for term, weight in weights.items()]
    if weights["task"] == weights["logits_kd"] == "0":
        changed.append("heads.kind=logistic")  # nothing trains linear ones
    if mined:
        files = [*(str(source.path) for source in base.data.train), str(mined)]
        changed.append(f"data.train=[{','.join(files)}]")
    return [*changed, f"output={base.output / folder_of(name)}"]


def work(arguments: argparse.Namespace) -> int:
    """Train what is not there yet, judge, print, write."""
    wanted = arguments.rows or list(ROWS)
    if unknown := [name for name in wanted if name not in ROWS]:
        raise UserError(f"there is no row {unknown[0]!r}; the rows are {', '.join(map(repr, ROWS))}")
    from benchmarks.ablation_page import judge, markdown
    from core.data import load as load_data

    base = load(arguments.config, arguments.overrides)
    validation = load_data(base.data, base.seed).splits["validation"]
    said: dict[str, NDArray] = {}
    for name in dict.fromkeys([BASELINE, *wanted]):
        mined = mine(arguments, base) if name == MINED else None
        given = [*arguments.overrides, *overrides(name, base, mined)]
        said[name] = decisions(train(load(arguments.config, given)), validation)
    rows = judge(said, BASELINE, validation, base.seed)
    print(markdown(rows))
    path = base.output / "ablation.json"
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    print(path)
    return 0


def train(experiment: Experiment) -> Path:
    """The row's student, trained on or taken as an earlier call left it."""
    from distill.entry import begin
    from distill.stages import make_student, make_teacher

    run = begin(experiment, argparse.Namespace(resume=True, overwrite=False), ("student",))
    return make_student(run, make_teacher(run) if experiment.needs_teacher else None)


def mine(arguments: argparse.Namespace, base: Experiment) -> Path:
    """The texts without labels that the row before flags and the teacher calls benign, found anew for other models."""
    from core import manifest
    from distill.mine import FILE
    from distill.mine import work as search

    row, output = base.output / folder_of(MINED_FROM), base.output / "mined"
    given = base.teacher.name_or_path if base.teacher.training is None else None
    models = {"student": row / "student", "teacher": base.mining.teacher or Path(given or row / "teacher")}
    digests = {name: manifest.read(folder).digest for name, folder in models.items()}
    if not (output / FILE).is_file() or digests != mined_with(output):
        changed = [f"checkpoint={models['student']}", f"mining.teacher={models['teacher']}", f"output={output}"]
        search(load(arguments.config, [*arguments.overrides, *changed]))
    return output / FILE


def mined_with(output: Path) -> dict[str, str] | None:
    """The digests of student and teacher in the account that `distill.mine` left; None where it cannot be read."""
    from distill.mine import ACCOUNT

    try:
        account = json.loads((output / ACCOUNT).read_text(encoding="utf-8"))
        return {name: account[name]["digest"] for name in ("student", "teacher")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def decisions(folder: Path, rows: Rows) -> NDArray:
    """Whether each of the rows is flagged, (rows,) bool."""
    from core.pipeline import open_pipeline
    from core.provenance import hardware

    pipeline = open_pipeline(folder)
    pipeline.use_threads(hardware()["cores"])
    flagged: NDArray = pipeline.classify(rows.texts).attack_probability >= 0.5
    return flagged


def main() -> None:
    """The command line."""
    cli.run_on_files(
        work,
        module="benchmarks.ablation",
        purpose="Train one student per row (what is finished is kept), judge all on validation, print the table.",
        declare=_declare,
        examples=["python -m benchmarks.ablation --config configs/ablation_64.yaml"],
    )


def _declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help=CONFIG_HELP)
    rows = ", ".join(map(repr, ROWS))
    parser.add_argument("--rows", nargs="+", metavar="ROW", help=f"of {rows}; default: all; plain is always there")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help=OVERRIDE_HELP)


if __name__ == "__main__":
    main()
