"""The one door of every entry point: arguments, configuration, help, errors and exit statuses."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from core.config import load
from core.errors import UserError
from core.mistakes import keys
from core.schema import Experiment

STATUSES = {0: "done", 2: "a mistake in the command, the configuration or the data", 130: "interrupted"}
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
WORDS = {"integer": "whole number", "number": "number", "string": "text", "path": "path", "boolean": "true | false"}
WORDS |= {"object": "mapping", "null": "null"}
# What the machine refuses rather than what the code gets wrong: a sentence, not a traceback.
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENOSPC, errno.EDQUOT}


def run(
    work: Callable[[Experiment, argparse.Namespace], int],
    *,
    module: str,
    purpose: str,
    sections: Sequence[str],
    flags: Mapping[str, str] = {},
    needs_checkpoint: bool = False,
    examples: Sequence[str] = (),
    statuses: Mapping[int, str] = {},
) -> NoReturn:
    """Parse the command line, load the experiment, exit with what `work(experiment, arguments)` returns.

    `flags` are switches (name to help; `dry-run` arrives as `arguments.dry_run`), `sections` the configuration keys
    that `--help` explains, `statuses` the meanings of the numbers that `work` returns.
    """
    parser = _parser(module, purpose, sections, flags, examples, statuses)

    def with_experiment(arguments: argparse.Namespace) -> int:
        experiment = load(arguments.config, arguments.overrides)
        if needs_checkpoint and experiment.checkpoint is None:
            raise UserError(f"{module} reads a checkpoint: add checkpoint=FOLDER to the command")
        return work(experiment, arguments)

    _exit(parser, with_experiment, resumes="resume" in flags)


def run_on_files(
    work: Callable[[argparse.Namespace], int],
    *,
    module: str,
    purpose: str,
    declare: Callable[[argparse.ArgumentParser], object],
    examples: Sequence[str] = (),
    statuses: Mapping[int, str] = {},
) -> NoReturn:
    """The same door for what needs no experiment, only files that others wrote: `declare` adds the arguments."""
    parser = _bare_parser(module, purpose, _epilog(examples, statuses))
    declare(parser)
    _exit(parser, work, resumes=False)


def _exit(parser: argparse.ArgumentParser, work: Callable[[argparse.Namespace], int], resumes: bool) -> NoReturn:
    """Exit with what `work` returns, or with a sentence and a status instead of a traceback."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # `… | tee log` shows each line at once
    try:
        try:
            status = work(parser.parse_intermixed_args())  # plain parse_args refuses `a=1 --resume b=2`
        finally:
            sys.stdout.flush()  # a closed pipe must show here, not in the interpreter's last breath
    except UserError as error:
        status = 2
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        remedy = "; run the same command with --resume to continue" if resumes else ""
        print(f"interrupted{remedy}", file=sys.stderr)
        status = 130
    except BrokenPipeError:  # as in `… | head`: what was to be read was read
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141  # as of a program that SIGPIPE ends
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        where = f": {error.filename}" if error.filename else ""
        print(f"error: {error.strerror}{where}; mend that or choose another folder", file=sys.stderr)
        status = 2
    sys.exit(status)


def _parser(
    module: str,
    purpose: str,
    sections: Sequence[str],
    flags: Mapping[str, str],
    examples: Sequence[str],
    statuses: Mapping[int, str],
) -> argparse.ArgumentParser:
    keys_read = ["configuration keys:", *(line for section in sections for line in _explain(section))]
    parser = _bare_parser(module, purpose, [*_epilog(examples, statuses), *keys_read])
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the experiment, a YAML file")
    for name, text in flags.items():
        parser.add_argument(f"--{name}", action="store_true", help=text.replace("%", "%%"))
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="replaces a value of the file")
    return parser


def _bare_parser(module: str, purpose: str, epilog: Sequence[str]) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=purpose,
        epilog="\n".join(epilog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _epilog(examples: Sequence[str], statuses: Mapping[int, str]) -> list[str]:
    lines = ["examples:", *(f"  {example}" for example in examples), ""] if examples else []
    known = sorted({**STATUSES, **statuses}.items())
    return [*lines, "exit statuses:", *(f"  {status:3}  {meaning}" for status, meaning in known), ""]


def _explain(section: str) -> list[str]:
    """Two lines for every key of `section`: name, default and type, then its docstring in the schema.

    Keys of a section that stands in several places, as the loss terms do, are explained at the first.
    """
    nodes = [(name, node) for name, node in keys() if f"{name}.".replace("[]", "").startswith(f"{section}.")]
    if not nodes:
        raise ValueError(f"the schema has no key {section!r}")  # else the help would go stale silently
    lines, explained = [], set[int]()
    for name, node in nodes:
        if id(node) in explained and "[]" not in name:
            continue
        explained.add(id(node))
        kind = _describe(node)
        # As YAML, to be copied: JSON's 5e-05 would be read back as text.
        default = yaml.safe_dump(node.get("default"), default_flow_style=True, width=1000).partition("\n")[0]
        default = f" = {default}" if kind and "default" in node else ""
        lines += [f"  {name}{default}{f'  ({kind})' if kind else ''}", f"      {node.get('description', '')}"]
    return lines


def _describe(node: Mapping[str, Any]) -> str:
    """What a schema node admits, in words; empty for a section, whose keys are explained one by one."""
    if alternatives := node.get("anyOf", node.get("oneOf")):
        return " or ".join(filter(None, map(_describe, alternatives)))
    if choices := node.get("enum", [node["const"]] if "const" in node else []):
        return " | ".join(map(str, choices))
    if node.get("type") == "array" and "prefixItems" in node:
        return f"[{', '.join(_describe(item) for item in node['prefixItems'])}]"
    if node.get("type") == "array":
        return f"list, each: {_describe(node['items']) or 'a section'}"
    limits = " and ".join(f"{word} {node[bound]:.12g}" for bound, word in BOUNDS.items() if bound in node)
    return f"{WORDS.get(node.get('format') or node.get('type', ''), '')} {limits}".strip()
