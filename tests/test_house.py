"""The house: imports run one way, nothing is too large or loads a pickle, docstrings stand, configs name themselves."""

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {
    "core": {"core"},
    "eval": {"core", "eval"},
    "distill": {"core", "eval", "distill"},
    "prune": {"core", "eval", "prune"},
    "export": {"core", "eval", "export"},
}
WRITES_JOBLIB = ROOT / "export" / "layouts" / "joblib_heads.py"  # a consumer reads no other form
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def imported(tree: ast.AST) -> set[str]:
    """Top-level names of everything a module imports, wherever in it."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    used = imported(ast.parse(path.read_text())) & set(ROOMS)
    assert used <= ROOMS[room], f"{path} imports {used - ROOMS[room]}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_and_loads_no_pickle(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    pickling = imported(tree) & {"pickle", "joblib", "dill", "cloudpickle"}
    assert pickling == ({"joblib"} if path == WRITES_JOBLIB else set())
    assert "joblib.load(" not in text
    assert "torch.load(" not in text
    assert "trust_remote_code=True" not in text


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_a_config_says_what_it_is_for(path: Path) -> None:
    head = path.read_text().splitlines()[:8]
    assert head[0].startswith("# Purpose: ")
    assert any(line.startswith("# Needs: ") for line in head)
    assert any(f"--config configs/{path.name}" in line for line in head)
    assert f"`{path.name}`" in (ROOT / "configs" / "README.md").read_text()
    assert f"name: {path.stem}" in path.read_text().splitlines()


def test_packages_are_all_listed() -> None:
    listed = re.search(r"^packages = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert listed is not None
    there = {".".join(path.parent.relative_to(ROOT).parts) for path in FILES if path.name == "__init__.py"}
    assert set(re.findall(r'"([^"]+)"', listed[1])) == there


def test_ci_runs_the_test_command_of_the_readme() -> None:
    commands = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and line[0] not in "#"]
    assert commands[-1] == "make test"
    assert "make test" in (ROOT / "README.md").read_text()


def test_configs_differ_from_their_twins_only_where_they_say() -> None:
    """threats.yaml and mpnet.yaml read the same data in the same way."""
    threats, mpnet = (yaml.safe_load((ROOT / "configs" / name).read_text()) for name in ("threats.yaml", "mpnet.yaml"))
    assert threats["data"] == mpnet["data"]
