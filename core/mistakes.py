"""What is wrong with a configuration, in words: the value, the rule and the remedy; and taking it out."""

from __future__ import annotations

import copy
import difflib
import functools
import json
import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from core.schema import Experiment

Loc = tuple[str | int, ...]
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


def keys(node: Mapping[str, Any] = SCHEMA, prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every key as its dotted name (`data.train[].path`) and its JSON schema, each section before the keys in it."""
    for name, child in node.get("properties", {}).items():
        yield prefix + name, child
        yield from keys(_section(child), f"{prefix}{name}{'[]' if 'items' in child else ''}.")


def message_of(loc: Loc, error: ErrorDetails) -> str:
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
    section = re.sub(r"\[\d+\]", "[]", dotted((*loc[:-1], "")))
    siblings = [name[len(section) :] for name, _ in keys() if name.startswith(section)]
    return _nearest(str(loc[-1]), [name for name in siblings if "." not in name])


def _nearest(word: str, choices: Sequence[str]) -> str:
    return next(iter(difflib.get_close_matches(word.lower(), choices, 1, 0.5)), "")


def dotted(loc: Loc) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


def below(loc: Loc, other: Loc) -> bool:
    return len(loc) > len(other) and loc[: len(other)] == other


def without_indices(loc: Loc) -> Loc:
    """`loc` without the list indices at its end."""
    return without_indices(loc[:-1]) if loc and isinstance(loc[-1], int) else loc


def names_key(rule: str, loc: Loc) -> bool:
    """Whether the sentence of a rule speaks of a key in `loc`."""
    return any(isinstance(part, str) and re.search(rf"\b{re.escape(part)}\b", rule) for part in loc)


def within(data: Any, error: ErrorDetails) -> Loc:
    """The part of the error's loc that was written; the rest are pydantic's names for alternatives of a type."""
    loc = error["loc"]
    for depth, part in enumerate(loc if error["type"] != "missing" else ()):
        if not (part in data if isinstance(data, dict) else isinstance(data, list) and isinstance(part, int)):
            return loc[:depth]
        data = data[part]
    return loc


def take_out(data: Any, loc: Loc, error: ErrorDetails) -> set[Loc]:
    """Remove from `data` what the error blames and return it: the keys that a rule names, else the value at `loc`."""
    *above, last = loc or ("",)
    section = functools.reduce(operator.getitem, above, data)
    if error["type"] == "missing":
        section |= {last: copy.deepcopy(STAND_INS[loc])} if loc in STAND_INS else {}
        return {loc}
    value = section[last] if loc else data
    named = [key for key in value if names_key(error["msg"], (key,))] if isinstance(value, dict) else []
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
