"""The notebooks: each runs to its end on little, shows a picture for every question, and is stripped when committed."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from report_factory import make_probability, make_report, make_rows

from core.schema import Experiment
from core.schema.options import Option
from eval import kept, options
from eval.comparing.comparison import Side
from eval.comparing.options import Judged, table

ROOT = Path(__file__).resolve().parents[1]
BOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
OURS = {"core", "eval", "distill", "prune", "export"}
STACK = {"matplotlib", "numpy", "torch", "IPython"}
DRAWS = re.compile(r"\bplt\.subplots\(|\bImage\(")
PATIENCE = 500  # seconds for a cell, on a machine that does other things besides
SMALL = [
    "data.max_rows=200", "teacher.layers=7", "teacher.hidden_size=384", "teacher.max_length=16",
    "student.layers=2", "student.max_length=16", "student.training.num_train_epochs=2",
    "student.training.logging_steps=2", "export.parity.texts=50", "export.parity.max_flip_rate=0.2",
    "export.calibration_texts=64", "evaluation.bootstrap_repeats=100",
]  # fmt: skip


def read(path: Path) -> NotebookNode:
    book: NotebookNode = nbformat.read(path, as_version=4)
    return book


def codes(book: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def executed(path: Path, changes: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> NotebookNode:
    """The notebook after a run as Jupyter does it, with a cell of changes behind its parameters, as papermill's."""
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(folder / "jupyter"))
    book = read(path)
    (place,) = [number for number, cell in enumerate(book.cells) if "parameters" in cell.metadata.get("tags", [])]
    book.cells.insert(place + 1, new_code_cell(changes))
    where: dict[str, Any] = {"metadata": {"path": str(path.parent)}}
    NotebookClient(book, timeout=PATIENCE, kernel_name="python3", resources=where).execute()
    nbformat.write(book, folder / path.name)
    return book


def pictures(book: NotebookNode) -> int:
    return sum("image/png" in output.get("data", {}) for cell in codes(book) for output in cell.outputs)


def shows_all(book: NotebookNode) -> None:
    """Every cell that draws has left a picture, and no cell a warning."""
    assert pictures(book) == sum(bool(DRAWS.search(cell.source)) for cell in codes(book)) >= 3
    text = "".join(output.get("text", "") for cell in codes(book) for output in cell.outputs)
    assert "Warning" not in text, text


def test_there_are_four_and_the_readme_names_them() -> None:
    page = (ROOT / "notebooks" / "README.md").read_text()
    assert [path.name[0] for path in BOOKS] == ["1", "2", "3", "4"]
    assert all(f"`{path.name}`" in page for path in BOOKS)


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped_and_one_line_is_marked_for_the_reader(path: Path) -> None:
    book = read(path)
    assert not any(cell.outputs or cell.execution_count for cell in codes(book))
    assert set(book.metadata) == {"kernelspec", "language_info"}
    assert all(set(cell.metadata) <= {"tags"} for cell in book.cells)
    (parameters,) = [cell for cell in codes(book) if cell.metadata.get("tags") == ["parameters"]]
    assert parameters.source.count("# <- this line") == 1


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_only_the_package_and_its_stack_are_imported(path: Path) -> None:
    for cell in codes(read(path)):
        for node in ast.walk(ast.parse(cell.source)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert {name.split(".")[0] for name in names} <= OURS | STACK | sys.stdlib_module_names
        assert len(cell.source.splitlines()) <= 40, "what is this long belongs in the package"


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_every_picture_answers_a_question_above_it(path: Path) -> None:
    said, drawn = "", 0
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            said = cell.source
        elif DRAWS.search(cell.source):
            assert re.match(r"## .*\?\n", said), cell.source
            drawn += 1
    assert drawn >= 3


def test_distil_and_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    untimed = ["evaluation.latency_calls=0", f"targets.cache_dir={tmp_path / 'cache'}"]
    changes = f"OUTPUT = {str(tmp_path / 'out')!r}\nOVERRIDES += {[*SMALL, *untimed]}"
    shows_all(executed(BOOKS[0], changes, tmp_path, monkeypatch))
    assert (tmp_path / "out" / "reports" / "student-int8-validation" / "report.html").is_file()


def test_prune_and_look_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = ["pruning.validation_texts=100", "pruning.calibration_texts=64"]
    changes = f"OUTPUT = {str(tmp_path / 'out')!r}\nOVERRIDES += {[*SMALL, *few]}"
    shows_all(executed(BOOKS[1], changes, tmp_path, monkeypatch))


def test_look_inside_a_checkpoint_of_the_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path, data: dict[str, list[str]]
) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(f"name: mine\noutput: unused\ndata: {data}\n")
    changes = f"CONFIG, CHECKPOINT = {str(config)!r}, {str(tiny_checkpoint)!r}\nOUTPUT = {str(tmp_path / 'out')!r}"
    shows_all(executed(BOOKS[1], changes, tmp_path, monkeypatch))


def test_quantise_a_checkpoint_of_the_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path, data: dict[str, list[str]]
) -> None:
    """Without one it differs in its first cell alone, which the others run too, and takes minutes."""
    config = tmp_path / "mine.yaml"
    config.write_text(f"name: mine\noutput: unused\ndata: {data}\n")
    loose = ["export.parity.min_cosine=0.5", "export.parity.max_flip_rate=0.5"]
    changes = (
        f"CONFIG, CHECKPOINT = {str(config)!r}, {str(tiny_checkpoint)!r}\nOUTPUT = {str(tmp_path / 'out')!r}\n"
        f"OVERRIDES += {loose}"
    )
    shows_all(executed(BOOKS[2], changes, tmp_path, monkeypatch))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"tiny-int8", "tiny-int4"}


def test_choose_from_a_table_of_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reader sees who ran `eval.options`: its table, its rows under their own names, against its reference."""
    wrongs = {"Option A: as it is": 3, "Option B: pruned": 8, **{f"Option {number}": number for number in range(4, 12)}}
    judged = []
    for number, (name, wrong) in enumerate(wrongs.items()):
        option = Option(name=name, checkpoint=tmp_path / str(number) / "student-int8", build=("python -m a.b",))
        folder, rows = tmp_path / "reports" / option.key, make_rows()
        made = make_report(
            folder, rows, make_probability(rows, range(wrong)), model_id="student-int8", milliseconds=1.0 + number
        )
        judged.append(Judged(option, Side(name, made, kept.read(folder)), str(folder), taken_over=True))
    section = {"reference": "Option B: pruned", "rows": [of.option.model_dump() for of in judged]}
    experiment = Experiment.model_validate(
        {"name": "options", "output": tmp_path, "data": {"test": [str(ROOT / "README.md")]}, "options": section}
    )
    (tmp_path / "options-test").mkdir()
    options.write(table(experiment, judged, []), judged, tmp_path / "options-test")
    book = executed(BOOKS[3], f"REPORTS = {str(tmp_path / 'options-test')!r}", tmp_path, monkeypatch)
    shows_all(book)
    said = "".join(str(output.get("data", {})) for cell in codes(book) for output in cell.outputs)
    assert "# The options, judged on the same texts" in said
    assert all(name in said for name in wrongs)


def test_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = f"OUTPUT = {str(tmp_path / 'out')!r}\nOVERRIDES += {[*SMALL, 'pruning.layers.remove=1']}"
    shows_all(executed(BOOKS[3], changes, tmp_path, monkeypatch))
