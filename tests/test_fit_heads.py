"""distill.fit_heads: the stored heads say what scikit-learn says, on PyTorch and on ONNX folders."""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from core import manifest
from core.checkpoint import RAW_HEADS, load_classifier
from core.data import Corpus
from core.errors import UserError
from core.head_graph import write_heads
from core.heads import HeadSet, LinearHead, OperatingPoint
from core.pipeline import open_pipeline
from core.rows import IGNORED, Rows, Taxonomy
from core.schema import Experiment, Export, Heads, Parity
from distill import entry, fit_heads, lexical
from distill.classifier import TorchHeads
from distill.heads.calibration import temperature
from distill.heads.fitting import fit_heads as fit
from distill.heads.logistic import fit_logistic
from eval.metrics import confusion
from export import run as export_run
from export.checks.folder import check

IDENTITY = OperatingPoint(0.0, 1.0)


KINDS = ("random_forest", "gradient_boosting", "mlp")


def experiment(source: Path, output: Path, data: dict[str, list[str]], **heads: object) -> Experiment:
    whole = {"name": "tiny", "output": str(output), "checkpoint": str(source), "data": data}
    return Experiment.model_validate({**whole, "heads": heads})


@pytest.fixture(scope="module")
def on_torch(tiny_checkpoint: Path, data: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("torch")
    assert fit_heads.work(experiment(tiny_checkpoint, output, data, inverse_regularisation=0.5)) == 0
    return output / "tiny-logistic"


@pytest.fixture(scope="module")
def on_onnx(tiny_checkpoint: Path, data: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("onnx")
    assert export_run.work(experiment(tiny_checkpoint, output, data)) == 0
    assert fit_heads.work(experiment(output / "tiny-fp32", output, data, inverse_regularisation=0.5)) == 0
    return output / "tiny-fp32-logistic"


@pytest.fixture(params=["torch", "onnx"])
def folder(request: pytest.FixtureRequest) -> Path:
    made: Path = request.getfixturevalue(f"on_{request.param}")
    return made


def embedded(folder: Path, rows: Rows) -> np.ndarray:
    return open_pipeline(folder).encoder.encode(rows.texts)


def test_the_stored_heads_equal_scikit_learn(folder: Path, tiny_corpus: Corpus) -> None:
    train, validation = tiny_corpus.splits["train"], tiny_corpus.splits["validation"]
    inputs, others = embedded(folder, train), embedded(folder, validation)
    scores = HeadSet(folder)(others)
    taxonomy = Taxonomy.of(train)
    for place, probabilities in ((1, scores.family), (2, scores.subfamily)):
        target = taxonomy.targets(train)[place]
        chosen = target != IGNORED
        model = LogisticRegression(C=0.5, max_iter=2000, class_weight="balanced").fit(inputs[chosen], target[chosen])
        seen = taxonomy.targets(validation)[place]
        logs = np.log(model.predict_proba(others))
        slope = temperature(logs[seen != IGNORED], seen[seen != IGNORED]).slope
        np.testing.assert_allclose(probabilities, softmax(slope * logs, axis=1), atol=1e-4)
    binary = LogisticRegression(C=0.5, max_iter=2000).fit(inputs, train.labels)
    stored = manifest.read(folder).fields["operating_point"]
    shifted = (binary.decision_function(others) - stored["logit"]) * stored["scale"]
    np.testing.assert_allclose(scores.attack, 1 / (1 + np.exp(-shifted)), atol=1e-4)


def test_the_folder_verifies_and_says_what_changed(
    folder: Path, tiny_checkpoint: Path, tiny_corpus: Corpus, data: dict[str, list[str]]
) -> None:
    verified = manifest.read(folder)
    kind = "torch" if folder.name == "tiny-logistic" else "onnx"
    source = tiny_checkpoint if kind == "torch" else folder.with_name("tiny-fp32")
    before = manifest.read(source)
    assert verified.kind == kind
    assert verified.name == folder.name
    assert verified.fields["parent"] == {"name": source.name, "digest": before.digest}
    assert verified.fields["provenance"]["config"]["heads"]["inverse_regularisation"] == 0.5
    changed = {name for name, value in verified.fields["files"].items() if before.fields["files"][name] != value}
    heads = {f"classifier_{name}.onnx" for name in ("binary", "family", "subfamily")}
    assert changed - {RAW_HEADS, "keyword_triggers.json", "README.md"} == heads
    assert verified.fields["files"].keys() == before.fields["files"].keys()  # a serving folder gets no raw heads
    rows = tiny_corpus.splits["validation"]
    matrix = confusion(rows.labels, open_pipeline(folder).classify(rows.texts).attack_probability >= 0.5)
    assert verified.fields["scores"]["validation_f1"] == pytest.approx(matrix.f1)
    assert verified.fields["scores"]["validation_false_positive_rate"] == pytest.approx(matrix.false_positive_rate)


def test_the_embeddings_stay(folder: Path, tiny_checkpoint: Path, tiny_corpus: Corpus) -> None:
    rows = tiny_corpus.splits["validation"]
    np.testing.assert_allclose(embedded(folder, rows), embedded(tiny_checkpoint, rows), atol=1e-5)


def test_training_can_go_on_from_the_raw_heads(on_torch: Path, tiny_corpus: Corpus) -> None:
    classifier = load_classifier(on_torch, manifest.read(on_torch).fields)
    embeddings = embedded(on_torch, tiny_corpus.splits["train"])
    heads = TorchHeads(embeddings.shape[1], classifier.taxonomy)
    heads.load_linear(dict(classifier.heads))
    with torch.no_grad():
        logits = heads(torch.from_numpy(embeddings))
    np.testing.assert_allclose(logits.binary.numpy(), classifier.heads["binary"].logits(embeddings)[:, 0], atol=1e-4)
    np.testing.assert_allclose(logits.family.numpy(), classifier.heads["family"].logits(embeddings), atol=1e-4)
    for name, head in heads.to_linear().items():
        np.testing.assert_allclose(head.weight, classifier.heads[name].weight, rtol=1e-5)
        np.testing.assert_allclose(head.bias, classifier.heads[name].bias, rtol=1e-5)


def with_families(count: int) -> tuple[np.ndarray, Rows]:
    """Separable rows of so many attack families, and a benign one."""
    generator = np.random.default_rng(4)
    size = 12
    names = ["BENIGN", *(f"F{index}" for index in range(count))]
    families = tuple(name for name in names for _ in range(size))
    centres = np.repeat(generator.normal(size=(len(names), 6)), size, axis=0)
    embeddings = (centres + 0.1 * generator.normal(size=centres.shape)).astype(np.float32)
    texts = tuple(map(str, range(len(families))))
    labels = np.array([int(family != "BENIGN") for family in families])
    return embeddings, Rows(texts, labels, families, families, texts, texts)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_two_and_many_families(count: int, tmp_path: Path) -> None:
    embeddings, rows = with_families(count)
    taxonomy = Taxonomy.of(rows)
    heads = fit_logistic(embeddings, rows, taxonomy, Heads())
    assert heads["family"].weight.shape == (count, 6)
    assert heads["binary"].weight.shape == (1, 6)
    write_heads(tmp_path, heads, IDENTITY)
    scores = HeadSet(tmp_path)(embeddings)
    attacks = rows.labels == 1
    assert scores.family.shape == (len(rows), count)
    said = np.array(taxonomy.families)[scores.family.argmax(1)]
    assert (said == np.array(rows.families))[attacks].all()
    assert ((scores.attack >= 0.5) == attacks).all()
    np.testing.assert_allclose(scores.family.sum(1), 1.0, atol=1e-5)


def test_trained_heads_lose_nothing_when_they_leave_training() -> None:
    taxonomy = Taxonomy(("A", "B"), ("a", "b", "c"), "BENIGN", "benign", {})
    heads = TorchHeads(8, taxonomy)
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.normal_()
        embedding = torch.nn.functional.normalize(torch.randn(4, 8), dim=-1)
        wanted = heads(embedding)
    linear = heads.to_linear()
    assert {name: head.weight.shape for name, head in linear.items()} == {
        "binary": (1, 8),
        "family": (2, 8),
        "subfamily": (3, 8),
    }
    assert all(isinstance(head, LinearHead) for head in linear.values())
    np.testing.assert_allclose(linear["binary"].logits(embedding.numpy())[:, 0], wanted.binary, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(linear["subfamily"].logits(embedding.numpy()), wanted.subfamily, rtol=1e-4, atol=1e-5)


def test_the_printed_line_names_folder_and_figures(
    tiny_checkpoint: Path, data: dict[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit_heads.work(experiment(tiny_checkpoint, tmp_path, data))
    said = capsys.readouterr().out
    assert re.search(r"tiny-logistic: validation F1 [01]\.\d{4}, FPR [01]\.\d{4}", said)
    assert re.search(r"heads on disk: binary 0\.\d\d MB, family 0\.\d\d MB, subfamily 0\.\d\d MB; together", said)


@pytest.fixture(scope="module", params=[(kind, source) for kind in KINDS for source in ("torch", "onnx")], ids="-".join)
def other_kind(
    request: pytest.FixtureRequest, data: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A checkpoint or serving folder with heads that are not linear, isotonic or not."""
    kind, of = request.param
    source: Path = request.getfixturevalue("tiny_checkpoint" if of == "torch" else "on_onnx")
    output = tmp_path_factory.mktemp(kind)
    calibration = "isotonic" if of == "torch" else "sigmoid"
    settings = {"kind": kind, "calibration": calibration, "trees": 4, "leaves": 4, "epochs": 40}
    assert fit_heads.work(experiment(source, output, data, **settings)) == 0
    return output / f"{source.name}-{kind}"


def test_other_kinds_serve_what_was_reported(other_kind: Path, tiny_corpus: Corpus) -> None:
    stored = manifest.read(other_kind)
    assert stored.name == other_kind.name
    assert stored.fields["heads"]["kind"] == other_kind.name.rpartition("-")[2]
    rows = tiny_corpus.splits["validation"]
    matrix = confusion(rows.labels, open_pipeline(other_kind).classify(rows.texts).attack_probability >= 0.5)
    assert stored.fields["scores"]["validation_f1"] == pytest.approx(matrix.f1)
    assert stored.fields["scores"]["validation_recall"] == pytest.approx(matrix.recall)
    assert stored.fields["scores"]["validation_false_positive_rate"] == pytest.approx(matrix.false_positive_rate)
    assert stored.fields["operating_point"]["origin"]["f1"] == pytest.approx(matrix.f1)


@pytest.fixture(scope="module")
def quoted(tiny_checkpoint: Path, data: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An INT8 folder whose manifest and card quote figures."""
    output = tmp_path_factory.mktemp("quoted")
    asked = experiment(tiny_checkpoint, output, data).model_copy(
        update={"export": Export(formats=("int8",), merge_heads=True, parity=Parity(max_flip_rate=0.5))}
    )
    assert export_run.work(asked) == 0
    folder = output / "tiny-int8"
    fields = manifest.read(folder).fields
    performance = {**fields["performance"], "p95_latency_ms": 1.0}
    figures = {"performance": performance, "accuracy": {"binary_f1": 0.9}, "measured": {"split": "test"}}
    (folder / "README.md").write_text("F1 0.9")
    manifest.write(folder, {**fields, **figures})
    return folder


@pytest.mark.parametrize("kind", ["logistic", "random_forest", "mlp"])
def test_a_serving_folder_with_other_heads_verifies_and_claims_nothing_of_the_old_ones(
    kind: str, quoted: Path, data: dict[str, list[str]], tmp_path: Path
) -> None:
    settings = {"kind": kind, "trees": 4, "binary_depth": 1, "epochs": 40, "inverse_regularisation": 0.01}
    assert fit_heads.work(experiment(quoted, tmp_path, data, **settings)) == 0
    folder = tmp_path / f"tiny-int8-{kind}"
    assert [fault for _, faults in check(folder) for fault in faults] == []
    old, new = manifest.read(quoted).fields, manifest.read(folder).fields
    assert not {"parity", "company", "accuracy", "measured"} & set(new)
    assert new["performance"] == {"target_latency_ms": 3.0}
    assert new["smoke"]["embedding"] == old["smoke"]["embedding"]
    assert new["smoke"]["attack_probability"] != old["smoke"]["attack_probability"]
    assert new["bytes_by_group"]["heads"]["after"] == sum(path.stat().st_size for path in folder.glob("classifier_*"))
    assert not (folder / "scores.onnx").exists()  # encoder and old heads in one graph
    for same in ("stored", "opset", "precision", "layout", "tokenizer"):
        assert new[same] == old[same]
    page = (folder / "README.md").read_text()
    assert f"# tiny-int8-{kind}" in page
    assert "No measured report lay beside" in page


def test_a_folder_that_holds_the_model_twice_is_refused(
    tiny_checkpoint: Path, data: dict[str, list[str]], tmp_path: Path
) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "tiny")
    manifest.write(tmp_path / "tiny", {**manifest.read(tiny_checkpoint).fields, "layout": "sentence-transformers"})
    with pytest.raises(UserError, match="graphs of its own: give the PyTorch checkpoint"):
        fit_heads.work(experiment(tmp_path / "tiny", tmp_path, data))


def test_other_kinds_have_no_raw_heads_and_say_so(other_kind: Path) -> None:
    assert not (other_kind / RAW_HEADS).exists()  # nor that of the checkpoint it was fitted on
    kind = other_kind.name.rpartition("-")[2]
    with pytest.raises(
        UserError, match=rf"its heads \({kind}\) can only be served, not trained further or learnt from"
    ):
        load_classifier(other_kind, manifest.read(other_kind).fields)


def test_raw_heads_come_back_with_linear_heads(
    tiny_checkpoint: Path, data: dict[str, list[str]], tmp_path: Path
) -> None:
    settings = {"trees": 2, "calibration": "isotonic"}
    fit_heads.work(experiment(tiny_checkpoint, tmp_path, data, kind="random_forest", **settings))
    fit_heads.work(experiment(tmp_path / "tiny-random_forest", tmp_path, data, kind="logistic", **settings))
    folder = tmp_path / "tiny-random_forest-logistic"
    classifier = load_classifier(folder, manifest.read(folder).fields)
    assert set(classifier.calibrations) == {"family", "subfamily"}
    assert (classifier.point.logit, 0.0) in classifier.point.knots
    again = tmp_path / "again"
    again.mkdir()
    write_heads(again, classifier.heads, classifier.point, classifier.calibrations)  # nothing was lost on the way
    for name in ("binary", "family", "subfamily"):
        assert (again / f"classifier_{name}.onnx").read_bytes() == (folder / f"classifier_{name}.onnx").read_bytes()


def test_serving_heads_needs_no_scikit_learn(tmp_path: Path) -> None:
    embeddings, rows = with_families(3)
    settings = Heads(kind="random_forest", trees=2)
    write_heads(tmp_path, fit(embeddings, rows, Taxonomy.of(rows), settings, seed=0), IDENTITY)
    code = (
        "import sys, numpy, pathlib; from core.heads import HeadSet;"
        f" HeadSet(pathlib.Path({str(tmp_path)!r}))(numpy.zeros((1, 6), numpy.float32));"
        " print({'sklearn', 'skl2onnx', 'onnx', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_other_entry_points_refuse_what_they_do_not_fit(data: dict[str, list[str]], tmp_path: Path) -> None:
    for kind in KINDS:
        with pytest.raises(UserError, match=f"training knows heads.kind linear and logistic, not {kind}.*distill.fit"):
            entry.begin(experiment(tmp_path, tmp_path, data, kind=kind), argparse.Namespace(), ())
        with pytest.raises(UserError, match=rf"distill\.lexical knows .* not {kind}: .* heads\.kind={kind}$"):
            lexical.work(experiment(tmp_path, tmp_path, data, kind=kind))
    fit_heads.refuse_unfitted("linear", "training")
