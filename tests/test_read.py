"""Readers: every row or fault with its file and line, and one sentence where a whole source cannot be read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import UserError
from core.faults import Fault
from core.read import Record, read
from core.schema import Source


def read_bytes(path: Path, content: bytes) -> list[Record]:
    path.write_bytes(content)
    return list(read(Source(path=path)))


def lines(records: list[Record]) -> list[str]:
    """`3` for a good row in line 3, `3 not UTF-8` for a fault there."""
    return [r.location.rpartition(":")[2] + (f" {r.value.kind}" if isinstance(r.value, Fault) else "") for r in records]


def test_jsonl_names_each_faulty_line_and_reads_the_others(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"text": "a"}\r\n\n{"text": "\xff"}\n{"text": \n[1]\n{"x": NaN}\n   \n"s"\n{"text": "z"}'
    records = read_bytes(tmp_path / "a.jsonl", content)
    assert lines(records) == ["1", "3 not UTF-8", "4 broken line", "5 broken line", "6", "8 broken line", "9"]
    assert records[0] == Record("a.jsonl", f"{tmp_path}/a.jsonl:1", {"text": "a"})
    assert records[1].value == Fault("not UTF-8", "byte 11 of the line is not UTF-8")
    assert records[3].value == Fault("broken line", "a JSON list, not an object")


def test_jsonl_survives_what_only_python_chokes_on(tmp_path: Path) -> None:
    content = b'{"a": ' + b"9" * 5000 + b"}\n" + b"[" * 200_000 + b'\n{"text": "line\xe2\x80\xa8separator"}\n'
    assert lines(read_bytes(tmp_path / "a.jsonl", content)) == ["1 broken line", "2 broken line", "3"]


def test_csv_counts_lines_through_quotes_and_line_ends(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbftext,label\r\n"two\r\nlines",1\r\n\r\n"a ""quoted"" word",0\r\nx,1,2\r\nlast,0'
    records = read_bytes(tmp_path / "a.CSV", content)
    assert lines(records) == ["2", "5", "6 broken line", "7"]
    assert records[0].value == {"text": "two\r\nlines", "label": "1"}
    assert records[1].value == {"text": 'a "quoted" word', "label": "0"}
    assert records[2].value == Fault("broken line", "3 fields, the header has 2 (the row ends in line 6)")


def test_csv_names_rows_that_are_not_utf8_and_goes_on(tmp_path: Path) -> None:
    records = read_bytes(tmp_path / "a.csv", b'text,label\n"a\n\xff",1\nb,0\nc,"0"x\nd,1\n')
    assert lines(records) == ["2 not UTF-8", "4", "5 broken line", "6"]


def test_csv_fields_may_be_longer_than_the_default_limit(tmp_path: Path) -> None:
    records = read_bytes(tmp_path / "a.csv", b"text,label\n" + b"x" * 200_000 + b",1\n")
    assert len(records[0].value["text"]) == 200_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "header"),
        (b"text,text\na,b\n", "header of unlike column names"),
        (b"te\xffxt,label\na,1\n", "header"),
        (b'text,label\na,1\n"never closed,0\nb,1\n', r"a\.csv:3: a quote opened in this row is never closed"),
    ],
)
def test_csv_refuses_a_file_that_it_cannot_take_apart(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_bytes(tmp_path / "a.csv", content)


def test_parquet_round_trip(tmp_path: Path) -> None:
    rows = [{"text": f"Grüße {i}", "label": i % 2, "score": i / 2} for i in range(5)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    records = list(read(Source(path=tmp_path / "a.parquet")))
    assert [r.value for r in records] == rows
    assert records[4].location == f"{tmp_path}/a.parquet:row 5"


def test_parquet_names_rows_that_are_not_utf8(tmp_path: Path) -> None:
    texts = pa.array([b"a", b"\xff", b"c"]).view(pa.string())
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    assert lines(list(read(Source(path=tmp_path / "a.parquet")))) == ["row 1", "row 2 not UTF-8", "row 3"]


def test_corrupt_parquet_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"a\.parquet is not a readable Parquet file .*write or download it again$"
    ) as e:
        read_bytes(tmp_path / "a.parquet", b"PAR1 not really")
    assert "\n" not in str(e.value)


def test_folder_reads_its_files_in_order_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"text": "b"}\n')
    (tmp_path / "a.csv").write_text("text\na\n")
    (tmp_path / "notes.txt").write_text("no")
    pq.write_table(pa.table({"text": ["c"]}), tmp_path / "c.parquet")
    records = list(read(Source(path=tmp_path)))
    assert [(r.origin, r.value["text"]) for r in records] == [("a.csv", "a"), ("b.jsonl", "b"), ("c.parquet", "c")]


def test_empty_folder_unknown_ending_and_vanished_file_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no \.jsonl, \.csv, \.parquet file"):
        list(read(Source(path=tmp_path)))
    with pytest.raises(UserError, match=r"cannot read \.json; give \.jsonl"):
        read_bytes(tmp_path / "a.json", b"[]")
    source = Source(path=tmp_path / "a.json")
    (tmp_path / "a.json").rename(tmp_path / "b.json")
    with pytest.raises(UserError, match="cannot read"):
        list(read(source))
    gone = Source.model_construct(path=tmp_path / "gone.jsonl")
    with pytest.raises(UserError, match=r"gone\.jsonl: No such file"):
        list(read(gone))


def test_hub_rows_carry_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def load_dataset(*names: str, split: str) -> datasets.Dataset:
        calls.append((*names, split))
        return datasets.Dataset.from_list([{"text": "a", "label": 1}, {"text": "b", "label": 0}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    records = list(read(Source(hub="someone/set", subset="small", split="train")))
    assert calls == [("someone/set", "small", "train")]
    assert records[1] == Record("someone/set", "hub:someone/set/train:row 2", {"text": "b", "label": 0})


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("Couldn't reach it\nmore"),
        datasets.exceptions.DatasetNotFoundError("Dataset doesn't exist."),
        ValueError("BuilderConfig 'x' not found. Available: ['y']"),
        RuntimeError("Dataset scripts are no longer supported"),
    ],
)
def test_hub_failure_is_one_sentence_with_both_remedies(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def load_dataset(*names: str, split: str) -> datasets.Dataset:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(
        UserError, match=r"^the hub cannot be reached or has no data set `a/b train`.*HF_HOME.*`path:`"
    ) as e:
        list(read(Source(hub="a/b", split="train")))
    assert "\n" not in str(e.value)


def test_hub_failure_of_the_real_library_when_offline(tmp_path: Path) -> None:
    # A process of its own: `datasets` reads HF_HUB_OFFLINE once, when it is imported.
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1])\n"
        "from core.read import read; from core.schema import Source; from core.errors import UserError\n"
        "try: list(read(Source(hub='nobody/nothing', split='train')))\n"
        "except UserError as error: print(json.dumps(str(error)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parents[1])],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    message = json.loads(done.stdout)
    assert message.startswith("the hub cannot be reached or has no data set `nobody/nothing train`")


def test_reading_jsonl_imports_neither_datasets_nor_pyarrow() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import core.data\n"
        "print('datasets' in sys.modules, 'pyarrow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parents[1])], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]
