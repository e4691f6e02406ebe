"""eval.kept: predictions and calls come back to the bit, and what was changed is not believed."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from core.errors import UserError
from core.rows import Rows, text_hash
from eval import kept
from eval.kept import Answers, Calls, Kept

TEXTS = ("plain", "emoji 🙂", "NUL \x00 inside", "line\nbreak | pipe", "تجاهل")
ROWS = Rows(
    TEXTS, np.array([1, 0, 1, 0, 1]), ("PI", "BENIGN", "JB", "BENIGN", "PI"), ("a", "benign", "b", "benign", "a"),
    tuple("vwxyz"), ("s", "s", "t", "t", "u"),
)  # fmt: skip
ANSWERS = Answers(
    np.array([0.1 + 0.2, 1 / 3, 0.9999999999999999, 0.0, 1.0]), ("PI", "BENIGN", "JB", "BENIGN", "JB"),
    ("a", "benign", "b", "benign", "b"), np.array([0.1, 0.2, 0.3, 0.4, 2 / 3]), np.linspace(0, 1, 5),
)  # fmt: skip
CALLS = Calls(
    np.array([4, 0, 0]), {"tokenise": np.array([5, 6, 7]), "encode": np.array([50, 60, 70])}, np.array([9, -1, -1]), 2
)


def test_round_trip_to_the_bit(tmp_path: Path) -> None:
    paths = kept.write(Kept(ROWS, ANSWERS, CALLS), tmp_path)
    assert [path.name for path in paths] == ["predictions.parquet", "calls.parquet"]
    back = kept.read(tmp_path)
    assert (back.rows.texts, back.rows.families, back.rows.subfamilies) == (TEXTS, ROWS.families, ROWS.subfamilies)
    assert (back.rows.groups, back.rows.sources) == (ROWS.groups, ROWS.sources)
    assert back.rows.labels.tolist() == ROWS.labels.tolist()
    for name in ("attack_probability", "family_confidence", "subfamily_confidence"):
        assert getattr(back.predictions, name).tolist() == getattr(ANSWERS, name).tolist()
    assert (back.predictions.family, back.predictions.subfamily) == (ANSWERS.family, ANSWERS.subfamily)
    assert back.calls is not None
    assert (back.calls.row.tolist(), back.calls.reference.tolist(), back.calls.threads) == ([4, 0, 0], [9, -1, -1], 2)
    assert back.calls.total.tolist() == [55, 66, 77]


def test_hashes_stand_beside_the_texts(tmp_path: Path) -> None:
    kept.write(Kept(ROWS, ANSWERS), tmp_path)
    table = parquet.read_table(tmp_path / "predictions.parquet")
    assert table.column("text_hash").to_pylist() == [text_hash(text) for text in TEXTS]


def test_calls_of_an_older_run_do_not_stay(tmp_path: Path) -> None:
    kept.write(Kept(ROWS, ANSWERS, CALLS), tmp_path)
    kept.write(Kept(ROWS, ANSWERS), tmp_path)
    assert kept.read(tmp_path).calls is None


def test_a_changed_text_is_found(tmp_path: Path) -> None:
    kept.write(Kept(ROWS, ANSWERS), tmp_path)
    path = tmp_path / "predictions.parquet"
    table = parquet.read_table(path)
    texts = [*TEXTS[:2], "another", *TEXTS[3:]]
    parquet.write_table(table.set_column(table.column_names.index("text"), "text", [texts]), path)
    with pytest.raises(UserError, match="row 3: the text is not the one that was judged"):
        kept.read(tmp_path)


@pytest.mark.parametrize("name", ["predictions.parquet", "calls.parquet"])
def test_damage_and_absence_are_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"eval\.run"):
        kept.read(tmp_path)
    kept.write(Kept(ROWS, ANSWERS, CALLS), tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-20])
    with pytest.raises(UserError, match=f"{name} is damaged"):
        kept.read(tmp_path)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    kept.write(Kept(ROWS, ANSWERS, CALLS), tmp_path)
    for name, column in (("predictions.parquet", "said_family"), ("calls.parquet", "row")):
        table = parquet.read_table(tmp_path / name)
        parquet.write_table(table.drop_columns([column]), tmp_path / name)
        with pytest.raises(UserError, match=column):
            kept.read(tmp_path)
        kept.write(Kept(ROWS, ANSWERS, CALLS), tmp_path)
