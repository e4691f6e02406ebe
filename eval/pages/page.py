"""Templates to one HTML file: everything escaped, nothing fetched, no script but our own."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any

from eval.pages import words

if TYPE_CHECKING:
    import jinja2

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def render(template: str, values: Mapping[str, Any], script: str = "") -> str:
    """The page of a template of this package; `script` is the one file of it that may run."""
    code = _file(script).strip() if script else ""
    policy = f"{POLICY}; script-src '{source_hash(code)}'" if code else POLICY
    shared = {"policy": policy, "script": code, "style": _file("style.css").strip()}
    return _environment().get_template(template).render({**values, **shared}) + "\n"


def source_hash(code: str) -> str:
    """What a content security policy calls this script, and no other (CSP level 2)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}"


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2  # here, so that an entry point shows its help without it

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_file),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("share", "amount", "count", "size", "when"):
        environment.filters[name] = getattr(words, name)
    return environment


def _finalize(value: object) -> object:
    """Whatever a template writes: foreign text made visible; what is None or undefined must not pass for a word."""
    if value is None:
        return words.NONE
    # Markup (our pictures, macros) is a str too, and is final.
    return words.visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _file(name: str) -> str:
    return (resources.files("eval.pages") / "templates" / name).read_text(encoding="utf-8")
