"""Loading: bad rows, labels, duplicates, conflicts, leaks, splits and fewer rows, on files made by hand."""

from __future__ import annotations

import json
import sys
import types
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from core.data import SPLITS, Corpus, load
from core.errors import UserError
from core.rows import fingerprint
from core.schema import Columns, Data
from core.splits import draw

Raw = dict[str, object]


def attack(text: object, **changed: object) -> Raw:
    return {"text": text, "label": 1, "family": "PI", "subfamily": "override", **changed}


def benign(text: object, **changed: object) -> Raw:
    return {"text": text, "label": 0, "family": "BENIGN", "subfamily": "benign", **changed}


def write(path: Path, rows: list[Raw]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def data(tmp_path: Path, train: list[Raw], validation: list[Raw] | None = None, **settings: object) -> Data:
    """Train and validation in `tmp_path`; validation holds one row of its own unless given."""
    paths = {
        "train": str(write(tmp_path / "train.jsonl", train)),
        "validation": str(write(tmp_path / "validation.jsonl", validation or [benign("only in validation")])),
    }
    return Data.model_validate({**{name: [path] for name, path in paths.items()}, **settings})


def texts(corpus: Corpus, split: str = "train") -> list[str]:
    return list(corpus.splits[split].texts)


def test_good_rows_arrive_whole(tmp_path: Path) -> None:
    rows = [attack("Ignore it", cluster=7, origin="web"), benign("Hello", cluster="c8", origin=None)]
    columns = {"group": "cluster", "source": "origin"}
    validation = [benign("only in validation", cluster=1, origin="x")]
    corpus = load(data(tmp_path, rows, validation, columns=columns), seed=1)
    train = corpus.splits["train"]
    assert train.texts == ("Ignore it", "Hello")
    assert train.labels.tolist() == [1, 0]
    assert train.labels.dtype == np.int64
    assert (train.families, train.subfamilies) == (("PI", "BENIGN"), ("override", "benign"))
    assert (train.groups, train.sources) == (("7", "c8"), ("web", "train.jsonl"))
    assert corpus.fingerprints["train"] == fingerprint(train)
    assert not corpus.synthetic
    assert corpus.faults.counts == {}


def test_a_source_is_cut_where_the_configuration_says(tmp_path: Path) -> None:
    rows = [attack("a", origin="owner/name:path/file.json"), attack("c", origin="plain"), benign("b", origin=": odd")]
    columns = {"source": "origin", "source_until": ":"}
    corpus = load(data(tmp_path, rows, [benign("only in validation", origin="x:y:z")], columns=columns), seed=1)
    assert corpus.splits["train"].sources == ("owner/name", "plain", "train.jsonl")
    assert corpus.splits["validation"].sources == ("x",)


def test_without_columns_the_group_is_the_text_and_the_source_the_file(tmp_path: Path) -> None:
    train = load(data(tmp_path, [attack("a"), benign("b")]), seed=1).splits["train"]
    assert len(set(train.groups)) == 2
    assert train.sources == ("train.jsonl", "train.jsonl")


@pytest.mark.parametrize(
    ("value", "label_map", "expected"),
    [
        (1, {}, 1),
        (0, {}, 0),
        (True, {}, 1),
        (False, {}, 0),
        ("1", {}, 1),
        ("0", {}, 0),
        (1.0, {}, 1),
        (0.0, {}, 0),
        ("True", {}, 1),
        ("false", {}, 0),
        ("jailbreak", {"jailbreak": 1}, 1),
        (2, {"2": 0}, 0),
        (0, {"0": 1}, 1),  # who writes it, means it
    ],
)
def test_labels(tmp_path: Path, value: object, label_map: dict[str, int], expected: int) -> None:
    corpus = load(data(tmp_path, [attack("a", label=value)], label_map=label_map), seed=1)
    assert corpus.splits["train"].labels.tolist() == [expected]


@pytest.mark.parametrize(
    ("row", "kind", "what"),
    [
        (attack(""), "empty text", "text is empty"),
        (attack(" \u3000\n"), "empty text", "text is empty"),
        (attack(5), "text is not a string", "text is of type int"),
        (attack(None), "text is not a string", "text is missing"),
        (attack("x" * 51), "over-long text", "51 characters, data.max_characters is 50"),
        (attack("a", label=None), "no label", "label is empty"),
        (attack("a", label=float("nan")), "no label", "label is empty"),
        (attack("a", label=2), "unknown label", "label is '2', neither 0 nor 1: give data.label_map an entry"),
        (attack("a", label="Attack"), "unknown label", "label is 'Attack'"),
        (attack("a", family=" "), "no family", "family is empty"),
        (attack("a", subfamily=None), "no sub-family", "subfamily is empty"),
        ({"text": "a", "label": 1, "subfamily": "override"}, "no family", "family is empty"),
    ],
)
def test_bad_rows_are_refused_by_name_or_dropped_and_counted(tmp_path: Path, row: Raw, kind: str, what: str) -> None:
    rows = [attack("kept"), row]
    with pytest.raises(UserError) as refused:
        load(data(tmp_path, rows, max_characters=50), seed=1)
    assert f"(train: 1 {kind})" in str(refused.value)
    assert f"train.jsonl:2: {what}" in str(refused.value)
    assert "data.on_bad_row=drop" in str(refused.value)
    corpus = load(data(tmp_path, rows, max_characters=50, on_bad_row="drop"), seed=1)
    assert texts(corpus) == ["kept"]
    assert corpus.faults.counts == {"train": {kind: 1}}


def test_refusal_counts_every_kind_and_split_and_names_five(tmp_path: Path) -> None:
    config = data(tmp_path, [attack("")] * 7 + [attack(1)], [benign("", label=9), benign("v", label=9)])
    with (tmp_path / "train.jsonl").open("ab") as file:
        file.write(b'{"text": "\xff"}\n{broken\n')
    with pytest.raises(UserError) as refused:
        load(config, seed=1)
    head, *named, remedy = str(refused.value).splitlines()
    assert "train: 7 empty text; train: 1 text is not a string; train: 1 not UTF-8; train: 1 broken line" in head
    assert "validation: 1 empty text; validation: 1 unknown label" in head
    assert [line.partition(": ")[0].rpartition(":")[2] for line in named] == ["1", "2", "3", "4", "5"]
    assert remedy.endswith("leave them out")


def test_a_missing_column_is_named_with_its_nearest(tmp_path: Path) -> None:
    rows = [{"Text": "a", "label": 1, "family": "PI", "subfamily": "x"}]
    with pytest.raises(
        UserError, match=r"no column 'text', it has: Text, label, .*did you mean 'Text'\?.*data\.columns\.text"
    ):
        load(data(tmp_path, rows, on_bad_row="drop"), seed=1)
    with pytest.raises(UserError, match=r"no column 'cluster', it has: text"):
        load(data(tmp_path, [attack("a")], columns=Columns(group="cluster")), seed=1)


def test_a_row_without_a_group_is_bad_where_groups_are_asked_for(tmp_path: Path) -> None:
    rows = [attack("a", cluster="x"), attack("b", cluster=None)]
    with pytest.raises(UserError, match="1 no group"):
        load(data(tmp_path, rows, [benign("v", cluster="v")], columns=Columns(group="cluster")), seed=1)


def test_lone_surrogates_are_replaced_because_tokenizers_refuse_them(tmp_path: Path) -> None:
    assert texts(load(data(tmp_path, [attack("a\ud800")]), seed=1)) == ["a\ufffd"]


def test_equal_texts_with_one_label_are_kept_once(tmp_path: Path) -> None:
    corpus = load(data(tmp_path, [attack("Do  it"), attack("do it"), attack("ＤＯ it"), attack("do that")]), seed=1)
    assert texts(corpus) == ["Do  it", "do that"]
    assert corpus.faults.counts == {"train": {"duplicate": 2}}
    assert "train, rows left out: 2 duplicate" in corpus.describe()


@pytest.mark.parametrize("changed", [{"label": 0}, {"family": "JB"}, {"subfamily": "other"}])
def test_equal_texts_with_two_classes_are_a_conflict(tmp_path: Path, changed: Raw) -> None:
    rows = [attack("do it"), attack("keep"), attack("DO it", **changed), attack("do it")]
    with pytest.raises(UserError, match=r"train: 3 conflict") as refused:
        load(data(tmp_path, rows), seed=1)
    assert "train.jsonl:1 says (1, 'PI', 'override')" in str(refused.value)
    assert "train.jsonl:3 " in str(refused.value)
    assert "data.on_conflict=drop" in str(refused.value)
    corpus = load(data(tmp_path, rows, on_conflict="drop"), seed=1)
    assert texts(corpus) == ["keep"]
    assert corpus.faults.counts == {"train": {"conflict": 3}}


def test_a_text_in_two_splits_leaks(tmp_path: Path) -> None:
    train, validation = [attack("one"), attack("two")], [attack("ONE "), benign("three")]
    with pytest.raises(UserError, match=r"validation: 1 leak") as refused:
        load(data(tmp_path, train, validation), seed=1)
    assert "validation.jsonl:1 (validation) has the text of" in str(refused.value)
    assert "train.jsonl:1 (train)" in str(refused.value)
    assert "data.on_leak=drop" in str(refused.value)
    corpus = load(data(tmp_path, train, validation, on_leak="drop"), seed=1)
    assert (texts(corpus), texts(corpus, "validation")) == (["one", "two"], ["three"])
    assert corpus.faults.counts == {"validation": {"leak": 1}}


def test_a_group_in_two_splits_leaks_and_train_keeps_it(tmp_path: Path) -> None:
    train = [attack("a", cluster="1"), attack("b", cluster="2"), attack("c", cluster="3")]
    validation = [attack("d", cluster="2"), attack("e", cluster="4"), attack("f", cluster="4")]
    test = write(
        tmp_path / "test.jsonl", [attack("g", cluster="3"), attack("h", cluster="2"), attack("i", cluster="5")]
    )
    settings = {"columns": Columns(group="cluster"), "test": [str(test)]}
    with pytest.raises(UserError, match=r"test\.jsonl:1 \(test\) has the group of .*train\.jsonl:3 \(train\)"):
        load(data(tmp_path, train, validation, **settings), 1, ("test",))
    corpus = load(data(tmp_path, train, validation, **settings, on_leak="drop"), 1, SPLITS)
    assert {split: texts(corpus, split) for split in SPLITS} == {
        "train": ["a", "b", "c"],
        "validation": ["e", "f"],
        "test": ["i"],
    }


def test_test_files_are_not_opened_unless_asked_for(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_bytes(b"\xff broken\n")
    config = data(tmp_path, [attack("a")], test=[str(tmp_path / "test.jsonl")])
    assert list(load(config, seed=1).splits) == ["train", "validation"]
    with pytest.raises(UserError, match="test: 1 not UTF-8"):
        load(config, 1, ("test",))


def test_only_what_was_asked_for_is_returned(tmp_path: Path) -> None:
    test = write(tmp_path / "test.jsonl", [attack("t")])
    corpus = load(data(tmp_path, [attack("a")], test=[str(test)]), 1, ("test",))
    assert (list(corpus.splits), list(corpus.fingerprints)) == (["test"], ["test"])


def test_a_configuration_may_give_test_alone_but_then_nothing_else(tmp_path: Path) -> None:
    config = Data.model_validate({"test": [str(write(tmp_path / "test.jsonl", [benign("t")]))]})
    assert texts(load(config, 1, ("test",)), "test") == ["t"]
    with pytest.raises(UserError, match=r"gives no train rows, only test: add `data\.train`"):
        load(config, 1)


def extra(tmp_path: Path, **sets: list[Raw]) -> dict[str, list[str]]:
    """`data.extra`, a file for each set."""
    return {name: [str(write(tmp_path / f"{name}.jsonl", rows))] for name, rows in sets.items()}


def test_a_further_set_is_read_only_where_it_is_named(tmp_path: Path) -> None:
    sets = extra(tmp_path, ood_a=[benign("one class"), benign("is enough")], ood_b=[])
    (tmp_path / "ood_b.jsonl").write_bytes(b"\xff broken\n")
    (tmp_path / "test.jsonl").write_bytes(b"\xff broken\n")
    config = data(tmp_path, [attack("a")], test=[str(tmp_path / "test.jsonl")], extra=sets)
    assert list(load(config, seed=1).splits) == ["train", "validation"]
    corpus = load(config, 1, ("ood_a",))
    assert (list(corpus.splits), texts(corpus, "ood_a")) == (["ood_a"], ["one class", "is enough"])
    assert corpus.fingerprints == {"ood_a": fingerprint(corpus.splits["ood_a"])}
    assert corpus.describe().startswith("ood_a: 2 rows, 0 attack")
    with pytest.raises(UserError, match="ood_b: 1 not UTF-8"):
        load(config, 1, ("ood_b",))


def test_a_further_set_that_is_not_given_is_named_with_those_that_are(tmp_path: Path) -> None:
    config = data(tmp_path, [attack("a")], extra=extra(tmp_path, ood_a=[benign("o")]))
    with pytest.raises(UserError, match=r"no ood_c rows, only train, validation, ood_a: add `data\.extra\.ood_c`"):
        load(config, 1, ("ood_c",))


def test_a_further_set_gives_up_what_leaks_from_the_splits_that_are_read(tmp_path: Path) -> None:
    test = write(tmp_path / "test.jsonl", [attack("t", cluster="4")])
    rows = [attack("A", cluster="7"), attack("b", cluster="2"), attack("T", cluster="8"), attack("own", cluster="9")]
    settings = {
        "columns": Columns(group="cluster"),
        "test": [str(test)],
        "extra": extra(tmp_path, ood=rows, other=[attack("own", cluster="9")]),
    }
    train, validation = [attack("a", cluster="1")], [benign("v", cluster="2")]
    with pytest.raises(UserError, match=r"ood: 2 leak") as refused:
        load(data(tmp_path, train, validation, **settings), 1, ("ood",))
    assert "ood.jsonl:1 (ood) has the text of" in str(refused.value)
    assert "ood.jsonl:2 (ood) has the group of" in str(refused.value)
    dropping = data(tmp_path, train, validation, **settings, on_leak="drop")
    corpus = load(dropping, 1, ("train", "ood"))
    assert (texts(corpus), texts(corpus, "ood")) == (["a"], ["T", "own"])
    assert corpus.faults.counts == {"ood": {"leak": 2}}
    assert texts(load(dropping, 1, ("test", "ood")), "ood") == ["own"]
    # Two further sets are not compared: what one holds does not depend on the company it is read in.
    both = load(dropping, 1, ("other", "ood"))
    assert (texts(both, "ood"), texts(both, "other")) == (["T", "own"], ["own"])


def test_a_further_set_stands_beside_a_pool_and_changes_nothing_there(tmp_path: Path) -> None:
    rows = [*pool_rows(), benign("BENIGN  5", cluster="b2")]  # repeats a row: a fault, but no bad row
    bare = pooled(tmp_path / "pool.jsonl", rows)
    leaking = bare.splits["test"].texts[0]
    sets = extra(tmp_path, ood=[attack(leaking, cluster="x"), attack("new", cluster="y"), benign("n", cluster="z")])
    config = {"pool": [str(tmp_path / "pool.jsonl")], "columns": {"group": "cluster"}, "extra": sets}
    corpus = load(Data.model_validate({**config, "on_leak": "drop"}), 3, (*SPLITS, "ood"))
    assert {name: corpus.fingerprints[name] for name in SPLITS} == bare.fingerprints
    assert texts(corpus, "ood") == ["new", "n"]
    assert corpus.faults.counts == {"pool": {"duplicate": 1}, "ood": {"leak": 1}}
    with pytest.raises(UserError, match=r"two splits \(ood: 1 leak\)"):
        load(Data.model_validate(config), 3, ("ood",))
    write(tmp_path / "ood.jsonl", [attack("", cluster="x")])
    with pytest.raises(UserError, match=r"cannot be used \(ood: 1 empty text\)"):
        load(Data.model_validate(config), 3, ("ood",))


def test_a_further_set_drawn_smaller_is_the_same_each_time(tmp_path: Path) -> None:
    rows = [benign(f"o{i}") for i in range(40)]
    sets = extra(tmp_path, ood=rows, same=rows)
    config = data(tmp_path, [attack("a")], extra=sets, max_rows=10)
    first = load(config, 1, ("ood", "same"))
    assert [len(first.splits[name]) for name in ("ood", "same")] == [10, 10]
    assert load(config, 1, ("ood",)).fingerprints["ood"] == first.fingerprints["ood"]
    assert first.fingerprints["ood"] != first.fingerprints["same"]


def test_a_split_without_usable_rows_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="train has no usable rows"):
        load(data(tmp_path, [attack("")], on_bad_row="drop"), seed=1)


def test_csv_with_words_for_labels(tmp_path: Path) -> None:
    (tmp_path / "pool.csv").write_bytes(
        b"prompt,type,family,subfamily\r\n"
        + b"".join(b'"line %d\nof text",%s,F,s%d\r\n' % (i, [b"ok", b"bad"][i % 2], i % 2) for i in range(20))
    )
    config = Data.model_validate(
        {
            "pool": [{"path": str(tmp_path / "pool.csv")}],
            "columns": {"text": "prompt", "label": "type"},
            "label_map": {"ok": 0, "bad": 1},
        }
    )
    corpus = load(config, 1, SPLITS)
    assert [len(corpus.splits[split]) for split in SPLITS] == [12, 4, 4]
    assert sum(int(rows.labels.sum()) for rows in corpus.splits.values()) == 10


def pool_rows() -> list[Raw]:
    """1,200 rows: 23 attack sub-families with 1 to 23 groups of 1 to 5 rows, and benign rows in groups of two."""
    rows = []
    for sub in range(1, 24):
        for group in range(sub):
            for row in range(1 + (group + sub) % 5):
                text = f"attack {sub} {group} {row}"
                rows.append(attack(text, family=f"F{sub % 6}", subfamily=f"s{sub}", cluster=f"{sub}/{group}"))
    return rows + [benign(f"benign {i}", cluster=f"b{i // 2}") for i in range(1200 - len(rows))]


def pooled(path: Path, rows: list[Raw], seed: int = 3, **settings: object) -> Corpus:
    config = {"pool": [str(write(path, rows))], "columns": {"group": "cluster"}, **settings}
    return load(Data.model_validate(config), seed, SPLITS)


def test_pool_split_keeps_groups_shares_and_subfamilies(tmp_path: Path) -> None:
    splits = pooled(tmp_path / "pool.jsonl", pool_rows()).splits
    assert sum(map(len, splits.values())) == 1200
    groups = {split: set(rows.groups) for split, rows in splits.items()}
    assert not groups["train"] & groups["validation"]
    assert not (groups["train"] | groups["validation"]) & groups["test"]
    for split, share in zip(SPLITS, (0.6, 0.2, 0.2), strict=True):
        assert len(splits[split]) == pytest.approx(1200 * share, abs=12)
        assert {f"s{sub}" for sub in range(3, 24)} <= set(splits[split].subfamilies)
    assert {"s1", "s2"} <= set(splits["train"].subfamilies)
    big = Counter(splits["test"].subfamilies)["s23"] / Counter(row["subfamily"] for row in pool_rows())["s23"]
    assert big == pytest.approx(0.2, abs=0.06)


def test_pool_split_depends_on_the_seed_and_not_on_the_order_of_rows(tmp_path: Path) -> None:
    rows = pool_rows()
    first = pooled(tmp_path / "a.jsonl", rows)
    assert pooled(tmp_path / "b.jsonl", rows[::-1]).fingerprints == first.fingerprints
    assert pooled(tmp_path / "a.jsonl", rows, seed=4).fingerprints != first.fingerprints


def test_a_subfamily_in_two_families_still_reaches_every_split(tmp_path: Path) -> None:
    rows = [attack(f"a{i}", family="F" if i < 2 else "G", subfamily="rare", cluster=i) for i in range(3)]
    splits = pooled(tmp_path / "a.jsonl", rows + [benign(f"b{i}", cluster=f"b{i}") for i in range(30)]).splits
    assert all("rare" in split.subfamilies for split in splits.values())


def test_a_group_of_attacks_and_benign_rows_is_not_torn(tmp_path: Path) -> None:
    rows = [row for i in range(50) for row in (attack(f"a{i}", cluster=i), benign(f"b{i}", cluster=i))]
    splits = pooled(tmp_path / "a.jsonl", rows).splits
    assert [len(splits[split]) for split in SPLITS] == [60, 20, 20]
    assert all(rows.labels.sum() * 2 == len(rows) for rows in splits.values())


def test_max_rows_keeps_the_shares_of_the_labels_and_a_rare_one(tmp_path: Path) -> None:
    rows = [attack(f"a{i}") for i in range(30)] + [benign(f"b{i}") for i in range(90)]
    config = data(tmp_path, rows, [benign(f"v{i}") for i in range(5)], max_rows=12)
    corpus = load(config, seed=1)
    assert Counter(corpus.splits["train"].labels.tolist()) == {1: 3, 0: 9}
    assert len(corpus.splits["validation"]) == 5
    assert load(config, seed=1).fingerprints == corpus.fingerprints
    assert load(config, seed=2).fingerprints != corpus.fingerprints
    assert load(config, 1, ("train",)).fingerprints["train"] == corpus.fingerprints["train"]


@pytest.mark.parametrize("count", [1, 2, 3, 10, 99, 100, 101])
def test_draw_gives_what_was_asked_for(count: int) -> None:
    labels = np.array([1] + [0] * 99)
    chosen = draw(labels, count, (1, 0))
    assert len(set(chosen.tolist())) == len(chosen) == min(count, 100)
    assert labels[chosen].sum() == (1 if count >= 2 else 0)


def test_synthetic_rows_are_split_by_template_and_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def generate(seed: int) -> list[Raw]:
        rows = [attack(f"attack {seed} {i}", template=f"t{i // 4}", source="templates") for i in range(40)]
        return rows + [benign(f"benign {seed} {i}", template=f"b{i // 4}", source="templates") for i in range(40)]

    module = types.ModuleType("core.corpus.generate")
    module.generate = generate
    monkeypatch.setitem(sys.modules, "core.corpus.generate", module)
    corpus = load(Data(synthetic=True), 5, SPLITS)
    assert corpus.synthetic
    assert corpus.describe().startswith("synthetic corpus")
    assert [len(corpus.splits[split]) for split in SPLITS] == [48, 16, 16]
    assert corpus.splits["test"].sources[0] == "templates"
    assert all(set(Counter(rows.groups).values()) == {4} for rows in corpus.splits.values())
    beside = Data.model_validate({"synthetic": True, "extra": extra(tmp_path, ood=[benign("real", cluster="c")])})
    mixed = load(beside, 5, ("train", "ood"))
    assert (texts(mixed, "ood"), mixed.synthetic) == (["real"], True)
    assert mixed.fingerprints["train"] == corpus.fingerprints["train"]
