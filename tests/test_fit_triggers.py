"""distill.fit_triggers: a checkpoint gets triggers, clusters and a first layer, and exports carry them along."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core import clusters, first_layer, manifest, triggers
from core.data import Corpus, load
from core.errors import UserError
from core.pipeline import open_pipeline
from core.rows import Rows
from core.schema import Experiment
from distill import fit_triggers
from export import run as export_run
from export.checks.folder import check

SHARES = {"misses": [0.01, 0.02, 0.1], "alarms": [0.01, 0.02, 0.1]}
SMALL = {"minimum_attacks": 4, "most": 20, "clusters": 6, "rules": 50, "folds": 3, **SHARES}
NEW = (triggers.FILE, *clusters.FILES, first_layer.FILE)


def experiment(source: Path, output: Path, data: dict[str, list[str]], **given: object) -> Experiment:
    whole = {"name": "tiny", "output": str(output), "checkpoint": str(source), "data": data, "triggers": SMALL}
    return Experiment.model_validate({**whole, **given})


@pytest.fixture(scope="module")
def guarded(tiny_checkpoint: Path, data: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("guarded")
    serving = {"decode": "beside", "first_layer": "eager"}
    assert fit_triggers.work(experiment(tiny_checkpoint, output, data, serving=serving)) == 0
    return output / "tiny-guarded"


def test_the_folder_is_the_checkpoint_with_more(guarded: Path, tiny_checkpoint: Path) -> None:
    new, old = manifest.read(guarded), manifest.read(tiny_checkpoint)
    unlike = {name for name in new.fields["files"] if new.fields["files"][name] != old.fields["files"].get(name)}
    assert unlike == set(NEW)
    assert new.fields["parent"] == {"name": "tiny", "digest": old.digest}
    assert new.fields["serving"] == {"decode": "beside", "decoded_limit": 0.5, "first_layer": "eager"}


def test_what_was_learned_is_served(guarded: Path, tiny_corpus: Corpus) -> None:
    served, rows = open_pipeline(guarded), tiny_corpus.splits["validation"]
    said = served.classify(rows.texts)
    scores = manifest.read(guarded).fields["scores"]
    right = (said.attack_probability >= 0.5) == (rows.labels == 1)
    assert right.mean() > 0.9
    assert scores["validation_recall"] == (said.attack_probability >= 0.5)[rows.labels == 1].mean()
    stored = json.loads((guarded / triggers.FILE).read_text())
    assert 0 < len(stored) <= 20
    assert all(trigger["validation_attacks"] >= 0 for trigger in stored.values())
    assert len(json.loads((guarded / clusters.EXAMPLES).read_text())) == 6


def test_without_options_the_model_decides_alone(
    tiny_checkpoint: Path, data: dict[str, list[str]], tmp_path: Path, tiny_rows: Rows
) -> None:
    none = {**SMALL, "clusters": 0, "rules": 0}
    assert fit_triggers.work(experiment(tiny_checkpoint, tmp_path, data, triggers=none)) == 0
    new, old = manifest.read(tmp_path / "tiny-guarded"), manifest.read(tiny_checkpoint)
    assert set(new.fields["files"]) == set(old.fields["files"])
    assert "serving" not in new.fields
    assert new.fields["scores"] == old.fields["scores"]
    both = (open_pipeline(found).classify(tiny_rows.texts) for found in (new.folder, old.folder))
    np.testing.assert_array_equal(*(said.attack_probability for said in both))


def test_again_replaces_what_was_there(guarded: Path, data: dict[str, list[str]], tmp_path: Path) -> None:
    none = {**SMALL, "clusters": 0, "rules": 0}
    assert fit_triggers.work(experiment(guarded, tmp_path, data, triggers=none)) == 0
    found = manifest.read(tmp_path / "tiny-guarded").fields  # not -guarded-guarded
    assert not {*clusters.FILES, first_layer.FILE} & set(found["files"])
    assert "serving" not in found


def test_exports_carry_it_along(guarded: Path, data: dict[str, list[str]], tmp_path: Path, tiny_rows: Rows) -> None:
    assert export_run.work(experiment(guarded, tmp_path, data, export={"formats": ["int8"]})) == 0
    folder = tmp_path / "tiny-guarded-int8"
    exported = manifest.read(folder).fields
    assert exported["serving"] == manifest.read(guarded).fields["serving"]
    for name in NEW:
        assert exported["files"][name] == manifest.read(guarded).fields["files"][name]
    before, after = open_pipeline(guarded), open_pipeline(folder)
    asked = [text for text in tiny_rows.texts if before(text).similar_attacks]
    if asked:
        assert before(asked[0]).similar_attacks[0]["text"] == after(asked[0]).similar_attacks[0]["text"]


def test_a_serving_folder_claims_no_figures_of_what_it_was(
    tiny_checkpoint: Path, data: dict[str, list[str]], tmp_path: Path
) -> None:
    assert export_run.work(experiment(tiny_checkpoint, tmp_path, data, export={"formats": ["fp32"]})) == 0
    plain = tmp_path / "tiny-fp32"
    figures = {"performance": {"p95_latency_ms": 1.0}, "accuracy": {"binary_f1": 0.9}, "measured": {"split": "test"}}
    old = manifest.write(plain, {**manifest.read(plain).fields, **figures}).fields
    asked = {"decode": "beside", "first_layer": "eager"}
    assert fit_triggers.work(experiment(plain, tmp_path, data, serving=asked)) == 0
    folder = tmp_path / "tiny-fp32-guarded"
    new = manifest.read(folder).fields
    assert not {"performance", "accuracy", "measured", "parity", "company"} & set(new)
    assert new["smoke"] == old["smoke"]  # of encoder and heads alone
    sizes = new["bytes_by_group"]["triggers and labels"]
    assert sizes["after"] > sizes["before"]
    assert "consumers other than it run the model alone" in (folder / "README.md").read_text()
    assert [fault for _, faults in check(folder) for fault in faults] == []
    none = {**SMALL, "clusters": 0, "rules": 0}
    assert fit_triggers.work(experiment(folder, tmp_path / "bare", data, triggers=none)) == 0
    bare = tmp_path / "bare" / "tiny-fp32-guarded"
    rows = load(experiment(folder, tmp_path, data).data, 13).splits["validation"]
    assert manifest.read(bare).fields["scores"] == fit_triggers.validation_scores(open_pipeline(bare), rows)


def test_a_first_layer_without_rules_is_refused(tiny_checkpoint: Path, data: dict, tmp_path: Path) -> None:
    asked = {"triggers": {"rules": 0}, "serving": {"first_layer": "careful"}}
    with pytest.raises(UserError, match=r"serving\.first_layer is careful, but triggers\.rules is 0"):
        fit_triggers.work(experiment(tiny_checkpoint, tmp_path, data, **asked))


@pytest.mark.parametrize("name", ["misses", "alarms"])
def test_settings_go_from_careful_to_eager(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` goes from careful to eager"):
        experiment(Path("x"), Path("y"), {}, triggers={**SMALL, name: [0.1, 0.02, 0.3]})
