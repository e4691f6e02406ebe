"""A YAML file with overrides: what was written, where it was written, and what is wrong with it."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Any

import yaml

from core.errors import UserError
from core.mistakes import Loc, below, dotted, names_key

Place = int | str  # where a value was written: a line of the file, or an override


class ConfigError(UserError):
    """Everything that is wrong with a configuration, one line for each mistake."""


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
                    raise ConfigError(f"command line: {text}: {dotted(loc[:depth])} is not a section")
        except ConfigError as error:
            self.mistakes.append((sys.maxsize, str(error)))
            return
        self.places = {at: place for at, place in self.places.items() if at[: len(loc)] != loc}
        self.places[loc] = text
        section[names[-1]] = self._plain(node, loc, text) if node else None

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
                self.note((*loc, name), message, place_of(key))
            else:
                plain[name] = self._plain(value, (*loc, name), place_of(key))
        return plain

    def note(self, loc: Loc, message: str, place: Place = 0) -> None:
        """Keep a mistake, led by its place and its key."""
        place = place or next(
            self.places[at] for at in (loc[:end] for end in range(len(loc), -1, -1)) if at in self.places
        )
        # What contradicts the file may be an override inside the section, so those that the rule names are given too.
        inside = {at[len(loc) :]: other for at, other in self.places.items() if at == loc or below(at, loc)}
        overrides = " ".join(
            dict.fromkeys(o for at, o in inside.items() if isinstance(o, str) and (not at or names_key(message, at)))
        )
        where = self._where(overrides or place if isinstance(place, str) else place)
        where += f" with {overrides}" if overrides and isinstance(place, int) else ""
        key = f"{dotted(loc)}: " if loc and not where.startswith(f"command line: {dotted(loc)}=") else ""
        self.mistakes.append((place if isinstance(place, int) else sys.maxsize, f"{where}: {key}{message}"))

    def _where(self, place: Place) -> str:
        return (
            f"command line: {place}" if isinstance(place, str) else f"{self.path}:{place}" if place else str(self.path)
        )


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
