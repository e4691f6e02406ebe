"""The package raxe 0.15.0 from the registry, in an environment of its own, loads its folder and decides as we do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.consumers import agree, agreement
from core.data import Corpus
from core.decision import Predictions
from core.pipeline import open_pipeline
from export.layouts import raxe_names
from tests.layout_factory import served

__all__ = ["served"]
pytestmark = pytest.mark.timeout(1500)  # the first time, fifty packages are installed
PACKAGE = "raxe==0.15.0"
HOME = Path(sys.prefix) / "consumers" / PACKAGE.replace("==", "-")  # beside our packages; `make clean` removes it
UNREACHABLE = ("from versions: none", "Temporary failure", "Connection", "ProxyError", "timed out", "getaddrinfo")
VALIDATE = """
import sys
from pathlib import Path
from raxe.domain.ml.manifest_loader import ManifestLoader
for folder in sys.argv[1:]:
    print(ManifestLoader(strict=True).load_manifest(Path(folder) / "manifest.yaml")["name"])
"""


@pytest.fixture(scope="module")
def consumer() -> Path:
    """The interpreter that has the package; made once and kept."""
    python, ready = HOME / "bin" / "python", HOME / "ready"
    if not ready.is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(HOME)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--no-compile", PACKAGE]
        done = subprocess.run(install, capture_output=True, text=True)
        if done.returncode and any(word in done.stderr for word in UNREACHABLE):
            pytest.skip(f"the package registry is not reachable, so {PACKAGE} cannot be installed")
        assert done.returncode == 0, done.stderr[-2000:]
        ready.touch()
    return python


@pytest.fixture(scope="module")
def texts(tiny_corpus: Corpus) -> list[str]:
    rows = tiny_corpus.splits["validation"].texts
    return [*rows, "please " * 600, "Ünïcode & 中文 🙂", "Hi"]  # the second reaches beyond what is read


@pytest.fixture(scope="module")
def told(consumer: Path, served: Path, texts: list[str]) -> dict[str, Any]:
    return agree.ask("raxe-0.15", consumer, served / "small-int8-raxe-0.15", texts)


def test_the_package_decides_as_the_pipeline(served: Path, texts: list[str], told: dict[str, Any]) -> None:
    said = open_pipeline(served / "small-int8").classify(texts)
    found = agreement.compare(said, [int(row["attack"]) for row in told["rows"]], told["rows"], renamed=True)
    assert found.other_errors == ()
    assert found.differing == ()
    assert found.same_family == found.flagged_by_both > 0
    assert found.flagged_by_both < len(texts)
    assert found.largest_difference < 1e-5


def test_the_package_finds_the_folder_and_its_version(told: dict[str, Any]) -> None:
    assert told["discovered"] is True
    assert told["version"] == "small-int8-raxe-0.15-v0.1.0"


def test_attacks_have_severity_and_technique(told: dict[str, Any]) -> None:
    for row in told["rows"]:
        assert (row["action"] == "ALLOW") != row["attack"]
        if row["attack"]:
            assert row["severity"] in ("moderate", "severe")
            assert row["technique"] in set(raxe_names.TECHNIQUES) - {"none"}


def test_our_class_names_are_the_packages_in_its_order(told: dict[str, Any]) -> None:
    assert told["classes"] == {
        "ThreatFamily": raxe_names.FAMILIES,
        "Severity": raxe_names.SEVERITIES,
        "PrimaryTechnique": raxe_names.TECHNIQUES,
        "HarmType": raxe_names.HARMS,
    }


def test_its_manifest_validator_accepts_every_layout(consumer: Path, served: Path) -> None:
    folders = sorted(served.glob("small-*"))
    command = [str(consumer), "-c", VALIDATE, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == [folder.name for folder in folders]


# The comparison itself


def test_agreement_by_hand() -> None:
    said = Predictions(
        np.array([0.9, 0.6, 0.2, 0.1]), ("PI", "JB", "BENIGN", "BENIGN"), ("a", "b", "c", "c"), np.ones(4), np.ones(4)
    )
    rows = [
        {"attack": True, "probability": 0.9, "family": "prompt_injection"},
        {"attack": True, "probability": 0.5, "family": "prompt_injection"},
        {"attack": True, "probability": 0.2, "family": "jailbreak"},
        {"attack": False, "probability": None, "family": None, "error": "name 'subfamily_idx' is not set"},
    ]
    found = agreement.compare(said, [1, 1, 0, 0], rows, renamed=True)
    assert (found.same_on_attacks, found.same_on_benign, found.differing) == (2, 1, (2,))
    assert (found.flagged_by_both, found.same_family, found.known_faults) == (2, 1, 1)
    assert found.largest_difference == pytest.approx(0.1)
    assert "3 of 4 texts" in found.sentences()[0]


def test_half_of_the_texts_are_attacks_from_all_over() -> None:
    labels = [1] * 10 + [0] * 100
    chosen = agree.half_and_half(labels, 8)
    assert chosen == [0, 2, 5, 7, 10, 35, 60, 85]


def test_a_consumer_that_fails_is_told_in_a_sentence(served: Path, tmp_path: Path) -> None:
    from core.errors import UserError

    with pytest.raises(
        UserError, match=r"could not ask the consumer of .*: ModuleNotFoundError: No module named 'raxe'"
    ):
        agree.ask("raxe-0.15", Path(sys.executable), served / "small-int8-raxe-0.15", ["Hi"])


def test_a_layout_without_a_known_consumer_is_refused(served: Path, data: dict[str, list[str]], tmp_path: Path) -> None:
    from core.errors import UserError

    config = tmp_path / "tiny.yaml"
    config.write_text(
        f"name: tiny\noutput: {tmp_path}\ndata: {{train: {data['train']}, validation: {data['validation']}}}\n"
    )
    folder = served / "small-sentence-transformers"
    arguments = SimpleNamespace(
        config=config, overrides=[], served=folder, reference=folder, python=sys.executable, source=None, texts=4
    )
    with pytest.raises(UserError, match=r"has the layout sentence-transformers; consumers are known for raxe-0\.15"):
        agree.work(arguments)  # type: ignore[arg-type]
