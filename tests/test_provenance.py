"""core.provenance: the machine, the versions, the commit."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy
import pytest

from core import provenance


def test_hardware_is_that_of_this_machine() -> None:
    found = provenance.hardware()
    assert set(found) == {"cpu", "cores", "memory_gb", "os", "cpu_flags"}
    assert found["cpu"]
    assert found["cores"] >= 1
    assert found["memory_gb"] > 0
    assert found["cpu_flags"] == sorted(set(found["cpu_flags"]) & provenance.CPU_FLAGS)


@pytest.mark.parametrize("key", ["flags", "Features"])
def test_flags_of_intel_and_arm_are_read(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    described = f"processor\t: 0\nmodel name\t: A: B\n{key}\t: fpu avx2 f16c i8mm avx2x\n\nprocessor : 1\n{key} : sve\n"
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: described)
    found = provenance._cpuinfo()
    assert found["model name"] == "A: B"
    assert provenance.hardware()["cpu_flags"] == ["avx2", "f16c", "i8mm"]


def test_versions_are_read_without_importing() -> None:
    assert provenance.versions()["numpy"] == numpy.__version__
    assert set(provenance.versions()) == {"python", *provenance.PACKAGES}
    code = "import sys; from core.provenance import versions; versions(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_package_that_is_absent_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("surely-not-installed",))
    assert provenance.versions()["surely-not-installed"] is None


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "core.hooksPath=none")
    command = ["git", *identity, "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_git_state_follows_the_code_not_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, elsewhere = tmp_path / "repository" / "module.py", tmp_path / "elsewhere"
    code.parent.mkdir()
    elsewhere.mkdir()
    code.write_text("1")
    assert provenance.git_state(code) == {"commit": None, "dirty": None}
    git(code.parent, "init")
    assert provenance.git_state(code) == {"commit": None, "dirty": None}  # inside a repository, but not its code
    git(code.parent, "add", "module.py")
    git(code.parent, "commit", "-m", "first")
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("GIT_DIR", str(elsewhere))  # as inside another repository's hook
    assert provenance.git_state(code)["dirty"] is False
    code.write_text("2")
    state = provenance.git_state(code)
    monkeypatch.delenv("GIT_DIR")
    assert state == {"commit": git(code.parent, "rev-parse", "HEAD"), "dirty": True}


def test_without_git_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance.git_state() == {"commit": None, "dirty": None}


def test_provenance_is_json_and_its_hash_does_not_depend_on_order() -> None:
    made = provenance.provenance({"b": Path("x"), "a": 1}, 13, {"test": "abc"})
    assert json.loads(json.dumps(made)) == made
    assert made["config"] == {"b": "x", "a": 1}
    assert made["config_hash"] == provenance.config_hash({"a": 1, "b": "x"})
    assert made["config_hash"] != provenance.config_hash({"a": 2, "b": "x"})
    assert (made["seed"], made["fingerprints"], made["command"]) == (13, {"test": "abc"}, sys.argv)
    age = datetime.now(UTC) - datetime.fromisoformat(made["timestamp"])
    assert 0 <= age.total_seconds() < 60
