"""A configuration is read strictly, and every mistake in it is named at once, with its line."""

import subprocess
import sys
from pathlib import Path

import pytest

from core.config import ConfigError, load, resolved, write_resolved
from core.mistakes import SCHEMA, STAND_INS

SHIPPED = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))
BASE = "name: tiny\noutput: out\ndata: {synthetic: true}\n"  # three lines: what a test adds starts on line 4


def mistakes(folder: Path, text: str, *overrides: str) -> list[str]:
    """The lines of the message, the file's name shortened to x.yaml."""
    path = folder / "x.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    head, *lines = str(caught.value).replace(str(path), "x.yaml").split("\n")
    if lines:
        count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        assert head == f"{count} in x.yaml{' with its overrides' if overrides else ''}:"
    return lines or [head]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(BASE + "student: {layers: 4}\nteacher: {training: {num_train_epochs: 1}}\n")
    return path


def test_three_mistakes_at_once_each_with_its_line(tmp_path: Path) -> None:
    text = BASE + "student:\n  layerz: 4\n  init: minilmm\nheads:\n  safety_margin: 2\n"
    assert mistakes(tmp_path, text) == [
        'x.yaml:5: student.layerz: unknown key; did you mean "layers"?',
        "x.yaml:6: student.init: \"minilmm\" should be 'minilm', 'teacher', 'random' or 'checkpoint';"
        ' did you mean "minilm"?',
        "x.yaml:8: heads.safety_margin: 2 should be less than 1",
    ]


def test_contradictions_are_reported_beside_the_field_errors_that_hide_them(tmp_path: Path) -> None:
    text = (
        BASE + "student:\n  dropout: high\n  hidden_size: 100\nlosses: {embedding_cosine: 0, logits_kd: 0, task: 0}\n"
    )
    assert mistakes(tmp_path, text) == [
        "x.yaml: every weight in `losses` is 0: there is nothing to learn",
        "x.yaml:4: student: attention_heads 12 does not divide hidden_size 100",
        'x.yaml:5: student.dropout: "high" should be a number',
    ]


def test_missing_required_keys_do_not_hide_the_rest(tmp_path: Path) -> None:
    assert set(SCHEMA["required"]) == {loc[0] for loc in STAND_INS}
    assert mistakes(tmp_path, "losses: {embedding_cosine: 0, logits_kd: 0, task: 0}\n") == [
        "x.yaml: name: this key is required",
        "x.yaml: output: this key is required",
        "x.yaml: data: this key is required",
        "x.yaml: every weight in `losses` is 0: there is nothing to learn",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Without `name_or_path` a pretrained teacher is a contradiction, but the file has one, if a wrong one.
        (BASE + "teacher:\n  origin: pretrained\n  name_or_path: 3\n", ["teacher.name_or_path: 3 should be text"]),
        # Without its only item the list would be too short; without its only source the data would be none.
        (BASE + "export: {formats: [int2]}\n", ["export.formats[0]"]),
        ("name: x\noutput: o\ndata:\n  pool: [nowhere.jsonl]\n", ["data.pool[0]: no such file or folder: nowhere"]),
        ("name: x\noutput: o\ndata:\n  pol: [nowhere.jsonl]\n", ['data.pol: unknown key; did you mean "pool"?']),
        ("name: x y\noutput: 3\ndata: 3\n", ["name: ", "output: 3 should be text", "data: 3 should be a section"]),
        (BASE + "student:\n", ["student: null should be a section"]),
    ],
)
def test_what_taking_a_mistake_out_breaks_is_not_reported(tmp_path: Path, text: str, expected: list[str]) -> None:
    lines = mistakes(tmp_path, text)
    assert len(lines) == len(expected)
    assert all(part in line for line, part in zip(lines, expected, strict=True))


def test_an_empty_list_is_still_too_short(tmp_path: Path) -> None:
    (line,) = mistakes(tmp_path, BASE + "export: {formats: []}\n")
    assert line.startswith("x.yaml:4: export.formats: [] should have at least 1 item")


def test_list_items_carry_their_index_and_line(tmp_path: Path) -> None:
    (tmp_path / "good.jsonl").touch()
    text = f"name: x\noutput: o\ndata:\n  validation: [{tmp_path}/good.jsonl]\n  train:\n"
    text += "    - nowhere.jsonl\n    - {hub: a, spit: train}\n    - 3\n    - hub: a\n    - {path: 3}\n"
    assert mistakes(tmp_path, text) == [
        "x.yaml:6: data.train[0]: no such file or folder: nowhere.jsonl",
        'x.yaml:7: data.train[1].spit: unknown key; did you mean "split"?',
        "x.yaml:8: data.train[2]: 3 should be a section of `key: value`",
        "x.yaml:9: data.train[3]: `hub` needs `split`, for example `split: train`",
        "x.yaml:10: data.train[4].path: 3 should be text: put it in quotes",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("layers: 4", 'x.yaml:4: layers: unknown key; "layers" belongs to teacher or student'),
        ("heads: {seed: 4}", 'x.yaml:4: heads.seed: unknown key; "seed" belongs to the top level'),
        ("heads: {zzz: 4}", "x.yaml:4: heads.zzz: unknown key"),
        ("student.dropout: 0", '"dropout" belongs to student'),
        ('student: {layers: "4"}', 'student.layers: "4" should be a whole number: write it without quotes'),
        ("student: {layers: 4.0}", "student.layers: 4.0 should be a whole number"),
        ("student: {projection: 1}", "student.projection: 1 should be true or false"),
        ("student: {teacher_layers: 3}", "student.teacher_layers: 3 should be a list"),
        ("heads: {inverse_regularisation: 1e3}", "write 1.0e+3"),
        ("seed: 1e3", "write 1000"),
        ("heads: {inverse_regularisation: .inf}", "should be a finite number"),
        ("teacher: {training: {learning_rate: 1e-4}}", "but YAML reads it as text: write 1.0e-4"),
    ],
)
def test_a_mistake_names_the_value_the_rule_and_the_remedy(tmp_path: Path, line: str, message: str) -> None:
    (only,) = mistakes(tmp_path, BASE + line)
    assert message in only


def test_the_remedy_for_numbers_is_right(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(BASE + "seed: 1000\nteacher: {training: {learning_rate: 1.0e-4}}\nheads: {safety_margin: 0}")
    experiment = load(path)
    assert experiment.teacher.training is not None
    assert (experiment.seed, experiment.teacher.training.learning_rate) == (1000, 1.0e-4)


def test_a_key_given_twice_is_reported_with_the_other_mistakes(tmp_path: Path) -> None:
    assert mistakes(tmp_path, BASE + "student:\n  layers: 4\n  layers: 5\n  dropout: 7\n") == [
        "x.yaml:6: student.layers: this key is given twice, first on line 5",
        "x.yaml:7: student.dropout: 7 should be less than 1",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BASE + "student: [1\n", "x.yaml:5: not YAML: "),
        (BASE + "student:\n\tlayers: 4\n", "x.yaml:5: not YAML: "),
        (BASE + "student: &a {layers: 4}\nheads: *a\n", "x.yaml:5: not YAML: aliases"),
        (BASE + "seed: &a [*a]\n", "x.yaml:4: not YAML: aliases"),
        (BASE + "seed: !!python/name:os.system x\n", "x.yaml:4: not YAML: "),
        ("- a\n", "x.yaml: the file should hold sections"),
    ],
)
def test_broken_yaml_is_one_sentence_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (line,) = mistakes(tmp_path, text)
    assert line.startswith(message)


def test_keys_are_text_as_spelled_and_dates_too(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("name: 2024-01-02\noutput: o\ndata: {synthetic: true, label_map: {yes: 1, no: 0, 1: 1}}\n")
    experiment = load(path)
    assert experiment.name == "2024-01-02"
    assert experiment.data.label_map == {"yes": 1, "no": 0, "1": 1}


def test_files_that_cannot_be_read_name_their_likes(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(ConfigError, match=r"tinny\.yaml: no such file; did you mean .*tiny\.yaml"):
        load(tmp_path / "tinny.yaml")
    with pytest.raises(ConfigError, match=r"this is a folder; did you mean .*tiny\.yaml"):
        load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.yaml: not UTF-8 text, byte 6"):
        load(tmp_path / "latin.yaml")


def test_overrides_are_read_as_yaml(tiny: Path) -> None:
    overrides = ["student.layers=3", "export.formats=[int8]", "data.max_rows=5", "data.max_rows=null"]
    overrides += ["teacher.training.learning_rate=1.0e-4", "checkpoint=a=b", "data.label_map={bad: 1}"]
    experiment = load(tiny, overrides)
    assert experiment.student.layers == 3
    assert experiment.export.formats == ("int8",)
    assert experiment.data.max_rows is None
    assert experiment.checkpoint == Path("a=b")
    assert experiment.data.label_map == {"bad": 1}
    assert experiment.teacher.training is not None
    assert (experiment.teacher.training.num_train_epochs, experiment.teacher.training.learning_rate) == (1.0, 1.0e-4)


def with_sets(folder: Path, sets: str, more: str = "") -> str:
    """A configuration on the synthetic corpus, `sets` as data.extra on line 5, `more` from line 6."""
    for name in ("a", "b"):
        (folder / f"{name}.jsonl").touch()
    return f"name: tiny\noutput: out\ndata:\n  synthetic: true\n  extra: {sets.replace('@', str(folder))}\n{more}"


def test_further_sets_are_read_and_written_back(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(with_sets(tmp_path, "{ood-1.a: [@/a.jsonl, {hub: h, split: s}], z: [@/b.jsonl]}"))
    experiment = load(path, ["evaluation.split=ood-1.a"])
    assert [source.hub or source.path for source in experiment.data.extra["ood-1.a"]] == [tmp_path / "a.jsonl", "h"]
    assert (list(experiment.data.extra), experiment.evaluation.split) == (["ood-1.a", "z"], "ood-1.a")
    write_resolved(experiment, path)
    assert load(path) == experiment
    path.write_text(BASE)
    assert (load(path).data.extra, load(path, ["evaluation.split=test"]).evaluation.split) == ({}, "test")


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ("{test: [@/a.jsonl]}", "data.extra: `test` already means other rows: call the set something else"),
        ("{fine: [@/a.jsonl], Pool: [@/a.jsonl]}", "data.extra: `Pool` already means other rows"),
        ("{a b: [@/a.jsonl]}", "data.extra.a b: \"a b\" should match pattern '^[A-Za-z0-9][A-Za-z0-9._-]*$'"),
        ("{../a: [@/a.jsonl]}", 'data.extra.../a: "../a" should match pattern'),
        ("{a: []}", "data.extra.a: [] should have at least 1 item"),
        ("{a: a.jsonl}", 'data.extra.a: "a.jsonl" should be a list'),
        ("{a: [@/a.jsonl, nowhere.jsonl]}", "data.extra.a[1]: no such file or folder: nowhere.jsonl"),
        ("[@/a.jsonl]", "should be a mapping of `key: value`"),
    ],
)
def test_a_further_set_needs_a_word_of_its_own_and_sources(tmp_path: Path, sets: str, message: str) -> None:
    (line,) = mistakes(tmp_path, with_sets(tmp_path, sets))
    assert line.startswith("x.yaml:5: ")
    assert message in line


def test_a_split_that_nothing_gives_is_refused_with_the_nearest(tmp_path: Path) -> None:
    text = with_sets(tmp_path, "{ood_bipia: [@/a.jsonl], far: [@/b.jsonl]}")
    rule = "neither validation nor test nor in `data.extra`, which holds"
    assert mistakes(tmp_path, text, "evaluation.split=ood_bipa") == [
        f'x.yaml with evaluation.split=ood_bipa: `evaluation.split` is "ood_bipa", {rule} ood_bipia, far;'
        ' did you mean "ood_bipia"?'
    ]
    (line,) = mistakes(tmp_path, text + "evaluation:\n  split: validaton\n")
    assert line.endswith(f'"validaton", {rule} ood_bipia, far; did you mean "validation"?')
    (line,) = mistakes(tmp_path, BASE, "evaluation.split=train")
    assert line.endswith(f'"train", {rule} no set; judge on one of these or add it there')


def test_a_split_whose_file_is_missing_is_one_mistake(tmp_path: Path) -> None:
    assert mistakes(tmp_path, with_sets(tmp_path, "{ood: [nowhere.jsonl]}", "evaluation: {split: ood}\n")) == [
        "x.yaml:5: data.extra.ood[0]: no such file or folder: nowhere.jsonl"
    ]
    assert len(mistakes(tmp_path, with_sets(tmp_path, "{ood: [@/a.jsonl]}", "evaluation: {split: od, layers: 3}"))) == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("student.layers=abc", 'command line: student.layers=abc: "abc" should be a whole number'),
        ("student.layers", "command line: student.layers: an override is written key.sub=value"),
        ("=3", "command line: =3: an override is written key.sub=value"),
        ("student..layers=3", "command line: student..layers=3: an override is written key.sub=value"),
        ("name.x=3", "command line: name.x=3: name is not a section"),
        ("export.formats=[int8", "command line: export.formats=[int8: not YAML: "),
        ("studnt.layers=3", 'command line: studnt.layers=3: studnt: unknown key; did you mean "student"?'),
        ("export.formats=[int8, int2]", "command line: export.formats=[int8, int2]: export.formats[1]: "),
        ("output=", "command line: output=: null should be text"),
        ("losses={task: 1, task: 2}", "command line: losses={task: 1, task: 2}: losses.task: this key is given twice"),
        ("student.hidden_size=100", "command line: student.hidden_size=100: student: attention_heads 12 does not"),
    ],
)
def test_mistakes_of_the_command_line_are_placed_there(tmp_path: Path, override: str, message: str) -> None:
    (line,) = mistakes(tmp_path, BASE, override)
    assert line.startswith(message)


def test_a_file_that_an_override_contradicts_is_named_with_it(tmp_path: Path) -> None:
    text = BASE + "student:\n  attention_heads: 12\n"
    assert mistakes(tmp_path, text, "student.hidden_size=100", "student.dropout=0.2") == [
        "x.yaml:4 with student.hidden_size=100: student: attention_heads 12 does not divide hidden_size 100"
    ]


def test_an_override_mends_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(BASE + "student: {layers: many}\n")
    assert load(path, ["student.layers=2"]).student.layers == 2


def test_resolved_says_everything_and_reads_back(tmp_path: Path, tiny: Path) -> None:
    experiment = load(tiny, ["name='1e-4'", "output=é"])
    assert resolved(experiment)["losses"]["temperature"] == 2.0
    assert resolved(experiment)["output"] == "é"
    write_resolved(experiment, tmp_path / "resolved.yaml")
    assert load(tmp_path / "resolved.yaml") == experiment


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_configuration_loads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent.parent)
    try:
        load(path)
    except ConfigError as error:
        lines = str(error).split("\n")[1:]
        if all("no such file" in line for line in lines):
            pytest.skip("its data files are not here")
        raise


def test_reading_a_configuration_needs_no_torch() -> None:
    code = "import sys, core.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, check=False).returncode == 0
