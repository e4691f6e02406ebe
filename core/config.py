"""Read an experiment from YAML and overrides, strictly, and name every mistake at once with its line."""

from __future__ import annotations

import copy
import difflib
import functools
import json
import operator
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from core.errors import UserError
from core.folders import atomic_write
from core.schema import Experiment

Loc = tuple[str | int, ...]
Place = int | str  # where a value was written: a line of the file, or an override
SCHEMA: Mapping[str, Any] = Experiment.model_json_schema()
# What a required key counts as once its mistake is noted, so that the rules that span sections still run.
STAND_INS: Mapping[Loc, Any] = {("name",): "x", ("output",): "x", ("data",): {"synthetic": True}}
RULES = {  # pydantic's sentences, where YAML has other words
    "int_type": "should be a whole number",
    "float_type": "should be a number",
    "string_type": "should be text",
    "bool_type": "should be true or false",
    "tuple_type": "should be a list, for example [first, second]",
    "dict_type": "should be a mapping of `key: value`",
    "model_type": "should be a section of `key: value`",
}


class ConfigError(UserError):
    """Everything that is wrong with a configuration, one line for each mistake."""


def load(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment in the YAML file `path`, changed by `key.sub=value` overrides; ConfigError if it is wrong."""
    document = Document(path)
    for override in overrides:
        document.override(override)
    experiment = document.validate()
    if experiment is None or document.mistakes:
        lines = [line for _, line in sorted(document.mistakes, key=lambda mistake: mistake[0])]
        count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        raise ConfigError("\n".join([f"{count} in {path}{' with its overrides' if overrides else ''}:", *lines]))
    return experiment


def resolved(experiment: Experiment) -> dict[str, Any]:
    """Every key with its value, defaults included, as JSON-able data."""
    return experiment.model_dump(mode="json")


def write_resolved(experiment: Experiment, path: Path) -> None:
    """Write `resolved` as YAML that `load` reads back to the same experiment."""
    atomic_write(path, yaml.safe_dump(resolved(experiment), sort_keys=False, allow_unicode=True, width=120))


def keys(node: Mapping[str, Any] = SCHEMA, prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every key as its dotted name (`data.train[].path`) and its JSON schema, each section before the keys in it."""
    for name, child in node.get("properties", {}).items():
        yield prefix + name, child
        yield from keys(_section(child), f"{prefix}{name}{'[]' if 'items' in child else ''}.")


class Document:
    """What was written, where it was written, and what is wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mistakes: list[tuple[int, str]] = []  # each with the line to sort by; overrides come last
        self.places: dict[Loc, Place] = {(): 0}
        node = self._compose(_text(path), 0)
        if node is not None and not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path}: the file should hold sections of `key: value`")
        self.raw: dict[str, Any] = self._plain(node, (), 0) if node else {}

    def override(self, text: str) -> None:
        """Set one `key.sub=value`, the value read as YAML; note a mistake in its form."""
        key, equals, value = text.partition("=")
        names = key.split(".")
        loc: Loc = tuple(names)
        try:
            if not equals or not all(names):
                raise ConfigError(f"command line: {text}: an override is written key.sub=value")
            node, section = self._compose(value, text), self.raw
            for depth, name in enumerate(names[:-1], 1):
                if section.get(name) is None:  # absent, or switched off by null
                    section[name] = {}
                    self.places.setdefault(loc[:depth], text)
                section = section[name]
                if not isinstance(section, dict):
                    raise ConfigError(f"command line: {text}: {_dotted(loc[:depth])} is not a section")
        except ConfigError as error:
            self.mistakes.append((sys.maxsize, str(error)))
            return
        self.places = {at: place for at, place in self.places.items() if at[: len(loc)] != loc}
        self.places[loc] = text
        section[names[-1]] = self._plain(node, loc, text) if node else None

    def validate(self) -> Experiment | None:
        """The experiment, if need be a mended one; every mistake is noted.

        A section's own rule runs only once its keys are right. So what is wrong is taken out, deepest first, and the
        rest validated again, until nothing is wrong; what the taking out itself broke is not noted.
        """
        data, removed, noted = copy.deepcopy(self.raw), set[Loc](), set[tuple[Loc, str]]()
        for _ in range(20):
            try:
                return Experiment.model_validate_json(json.dumps(data), strict=True)
            except ValidationError as failure:
                errors = [(_within(data, error), error) for error in failure.errors()]
            # A list whose items are wrong is also "too short": only the items are to blame.
            errors = [(loc, error) for loc, error in errors if not any(_below(other, loc) for other, _ in errors)]
            for loc, error in errors:
                message = _message(loc, error)
                broken = {other for other in removed if other == loc or _below(other, loc)}
                if error["type"] == "value_error":
                    broken = {other for other in broken if _names(message, _key(other)[-1:])}
                if not broken and (loc, message) not in noted:
                    noted.add((loc, message))
                    self._note(loc, message)
            depth = max(len(loc) for loc, _ in errors)
            deepest = {loc: error for loc, error in errors if len(loc) == depth}
            for loc in sorted(deepest, reverse=True):  # list items from the last, so that the others keep their index
                removed |= _take_out(data, loc, deepest[loc])
        return None

    def _compose(self, text: str, place: Place) -> yaml.Node | None:
        try:
            for event in yaml.parse(text, Loader=yaml.SafeLoader):
                if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
                    problem = "aliases (*name) and tags (!name) are not read, write the value out"
                    raise yaml.scanner.ScannerError(None, None, problem, event.start_mark)  # type: ignore[arg-type]
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            problem = getattr(error, "problem", None) or str(error).splitlines()[0]
            raise ConfigError(f"{self._where(place or (mark.line + 1 if mark else 0))}: not YAML: {problem}") from error

    def _plain(self, node: yaml.Node, loc: Loc, place: Place) -> Any:
        """The node as JSON-able data; keeps its place and those of everything in it."""

        def place_of(inner: yaml.Node) -> Place:
            return place if isinstance(place, str) else inner.start_mark.line + 1

        self.places[loc] = place
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, (*loc, index), place_of(item)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            if node.tag.rpartition(":")[2] not in ("null", "bool", "int", "float"):
                return node.value  # dates too: the schema has none
            try:
                return yaml.constructor.SafeConstructor().construct_object(node)
            except ValueError:  # `0x_` looks like a number to YAML, and is none
                return node.value
        plain: dict[str, Any] = {}
        for key, value in node.value:
            # A key is text as it is spelled: `no: 0` in a label map means the word, not YAML's false.
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            if name in plain:
                first = self.places[*loc, name]
                message = "this key is given twice" + (f", first on line {first}" if isinstance(first, int) else "")
                self._note((*loc, name), message, place_of(key))
            else:
                plain[name] = self._plain(value, (*loc, name), place_of(key))
        return plain

    def _note(self, loc: Loc, message: str, place: Place = 0) -> None:
        """Keep a mistake, led by its place and its key."""
        place = place or next(
            self.places[at] for at in (loc[:end] for end in range(len(loc), -1, -1)) if at in self.places
        )
        # What contradicts the file may be an override inside the section, so those that the rule names are given too.
        inside = {at[len(loc) :]: other for at, other in self.places.items() if at == loc or _below(at, loc)}
        overrides = " ".join(
            dict.fromkeys(o for at, o in inside.items() if isinstance(o, str) and (not at or _names(message, at)))
        )
        where = self._where(overrides or place if isinstance(place, str) else place)
        where += f" with {overrides}" if overrides and isinstance(place, int) else ""
        key = f"{_dotted(loc)}: " if loc and not where.startswith(f"command line: {_dotted(loc)}=") else ""
        self.mistakes.append((place if isinstance(place, int) else sys.maxsize, f"{where}: {key}{message}"))

    def _where(self, place: Place) -> str:
        return (
            f"command line: {place}" if isinstance(place, str) else f"{self.path}:{place}" if place else str(self.path)
        )


def _message(loc: Loc, error: ErrorDetails) -> str:
    """The value, the rule and the remedy."""
    kind, value, remedy = error["type"], error["input"], ""
    match kind:
        case "value_error":
            return error["msg"].removeprefix("Value error, ")
        case "missing":
            return "this key is required"
        case "extra_forbidden":
            return _unknown(loc)
        case "literal_error":
            choices = re.findall(r"'([^']*)'", error["ctx"]["expected"])
            near = _nearest(str(value), choices)
            remedy = f'; did you mean "{near}"?' if near else ""
        case "string_type" if isinstance(value, bool | int | float):
            remedy = ": put it in quotes"
        case "int_type" | "float_type" if isinstance(value, str):
            remedy = _number(value, whole=kind == "int_type")
    written = json.dumps(value, ensure_ascii=False)
    rule = RULES.get(kind, error["msg"].partition(" ")[2])
    return f"{written if len(written) <= 60 else f'{written[:57]}...'} {rule}{remedy}"


def _number(text: str, whole: bool) -> str:
    """How to write a number that was read as text; empty if it is none."""
    number = re.fullmatch(r"([-+]?(?:\d+\.?\d*|\.\d+))(e[-+]?\d+)?", text.lower())
    if number is None:
        return ""
    if number[2] is None:
        return ": write it without quotes"
    mantissa = number[1] if "." in number[1] else f"{number[1]}.0"  # YAML 1.1 wants the dot and the exponent's sign
    spelled = f"{float(text):.0f}" if whole else f"{mantissa}e{int(number[2][1:]):+d}"
    return f", but YAML reads it as text: write {spelled}"


def _section(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """The section that a schema node, one of its alternatives or its list items refer to; empty if none."""
    if "$ref" in node:
        return SCHEMA["$defs"][node["$ref"].rpartition("/")[2]]
    inner = [node["items"]] if "items" in node else node.get("anyOf", [])
    return next(filter(None, map(_section, inner)), {})


def _unknown(loc: Loc) -> str:
    key, near = str(loc[-1]), _near_key(loc)
    hints = [f'did you mean "{near}"?'] if near else []
    if owners := [name.rpartition(".")[0] or "the top level" for name, _ in keys() if f".{name}".endswith(f".{key}")]:
        hints.append(f'"{key.rpartition(".")[2]}" belongs to {" or ".join(owners)}')
    return "; ".join(["unknown key", *hints])


def _near_key(loc: Loc) -> str:
    """The key that an unknown one may have meant, among those of its section; empty if none is near."""
    section = re.sub(r"\[\d+\]", "[]", _dotted((*loc[:-1], "")))
    siblings = [name[len(section) :] for name, _ in keys() if name.startswith(section)]
    return _nearest(str(loc[-1]), [name for name in siblings if "." not in name])


def _nearest(word: str, choices: Sequence[str]) -> str:
    return next(iter(difflib.get_close_matches(word.lower(), choices, 1, 0.5)), "")


def _dotted(loc: Loc) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


def _below(loc: Loc, other: Loc) -> bool:
    return len(loc) > len(other) and loc[: len(other)] == other


def _key(loc: Loc) -> Loc:
    """`loc` without the list indices at its end."""
    return _key(loc[:-1]) if loc and isinstance(loc[-1], int) else loc


def _names(rule: str, loc: Loc) -> bool:
    """Whether the sentence of a rule speaks of a key in `loc`."""
    return any(isinstance(part, str) and re.search(rf"\b{re.escape(part)}\b", rule) for part in loc)


def _within(data: Any, error: ErrorDetails) -> Loc:
    """The part of the error's loc that was written; the rest are pydantic's names for alternatives of a type."""
    loc = error["loc"]
    for depth, part in enumerate(loc if error["type"] != "missing" else ()):
        if not (part in data if isinstance(data, dict) else isinstance(data, list) and isinstance(part, int)):
            return loc[:depth]
        data = data[part]
    return loc


def _take_out(data: Any, loc: Loc, error: ErrorDetails) -> set[Loc]:
    """Remove from `data` what the error blames and return it: the keys that a rule names, else the value at `loc`."""
    *above, last = loc or ("",)
    section = functools.reduce(operator.getitem, above, data)
    if error["type"] == "missing":
        section |= {last: copy.deepcopy(STAND_INS[loc])} if loc in STAND_INS else {}
        return {loc}
    value = section[last] if loc else data
    named = [key for key in value if _names(error["msg"], (key,))] if isinstance(value, dict) else []
    if named and error["type"] == "value_error" and not isinstance(section, list):
        for key in named:
            del value[key]
        return {(*loc, key) for key in named}
    if not loc:
        return set()
    del section[last]
    near = _near_key(loc) if error["type"] == "extra_forbidden" else ""
    # A rule that misses the key that was meant would only repeat the mistake.
    return {loc, (*above, near)} if near and near not in section else {loc}


def _text(path: Path) -> str:
    """The text of the YAML file; ConfigError, with files of like names, if it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        match error:
            case FileNotFoundError():
                reason = "no such file"
            case IsADirectoryError():
                reason = "this is a folder"
            case UnicodeDecodeError():
                reason = f"not UTF-8 text, byte {error.start}"
            case _:
                reason = str(error.strerror)
        folders = (path if isinstance(error, IsADirectoryError) else path.parent, Path("configs"))
        files = {file: None for folder in folders for file in sorted(folder.glob("*.y*ml")) if file != path}
        names = difflib.get_close_matches(path.name, [file.name for file in files], 3, 0.5)
        near = [str(file) for file in files if file.name in names] or [str(file) for file in files][:5]
        raise ConfigError(f"{path}: {reason}{'; did you mean ' + ' or '.join(near) + '?' if near else ''}") from error
