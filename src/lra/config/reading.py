"""Read settings from YAML files and the command line; an error in YAML is reported with line and column."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lra.errors import LraError

CONFIG = "config.yaml"
"""The file of settings that is read where none is given."""


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a YAML file.

    Raises:
        LraError: the file is missing, is not YAML, holds no settings, or has a key twice (YAML would keep the last).
    """
    try:
        content = yaml.load(path.read_bytes().decode("utf-8-sig"), _Loader)
    except FileNotFoundError:
        raise LraError(f"{path} is not there; run this in the project's folder or give --config.") from None
    except UnicodeDecodeError as problem:
        before = problem.object[: problem.start]
        line, column = before.count(b"\n") + 1, problem.start - before.rfind(b"\n")
        raise LraError(f"{path} cannot be read: {_place(line, column)} is not UTF-8; save the file as UTF-8.") from None
    except yaml.MarkedYAMLError as problem:
        raise LraError(f"{path} cannot be read: {_located(problem)}") from None
    except (OSError, yaml.YAMLError, RecursionError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else " ".join(str(problem).split())
        raise LraError(f"{path} cannot be read: {reason}.") from None
    if content is None:
        raise LraError(f"{path} is empty; docs/running.md and the project's config.yaml show what it holds.")
    if not isinstance(content, dict):
        raise LraError(f"{path} holds {type(content).__name__} {content!r:.60}, not settings such as `scale: mini`.")
    return content


def read_layers(given: Sequence[str | Path]) -> dict[str, dict[str, Any]]:
    """The content of files and of single settings, by name and in order; files come first.

    Args:
        given: files, and settings such as ``scale=paper`` or ``scales.mini.features=16``, whose values are YAML.
            Without a file, config.yaml is read.

    Raises:
        LraError: a file cannot be read, or a value is not YAML.
    """
    single = [str(one) for one in given if "=" in str(one) and not Path(one).exists()]
    files = [str(one) for one in given if str(one) not in single] or [CONFIG]
    return {file: read_config(Path(file)) for file in files} | {one: _single(one) for one in single}


def _single(setting: str) -> dict[str, Any]:
    """``a.b=value`` as nested mappings."""
    name, _, value = setting.partition("=")
    try:
        content = yaml.load(value, _Loader)
    except yaml.YAMLError:
        raise LraError(f"--config {setting}: the value is not YAML; quote it as in '{name}=[1, 2]'.") from None
    for key in reversed(name.split(".")):
        content = {key: content}
    return content


def merged(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One mapping of several, as Snakemake merges its files: block by block, a later key overrides."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            before = result.get(key)
            if isinstance(before, Mapping) and isinstance(value, Mapping):
                value = merged([before, value])
            result[key] = value
    return result


def origin(problem: str, files: Mapping[str, Any]) -> str:
    """The file that a problem comes from.

    It is the last of the files that hold the longest part of the key.

    Args:
        problem: a sentence that starts with a key, such as ``scales.mini.features``.
        files: the content of each file of settings, by name; later files override earlier ones.
    """
    place = [] if problem.startswith("the file: ") else problem.partition(": ")[0].split(".")
    if unknown := re.search(r"unknown key '([^']+)'", problem):
        place.append(unknown[1])

    def depth(content: Any) -> int:
        for number, key in enumerate(place):
            if not isinstance(content, Mapping):
                return len(place) if isinstance(content, list) else number
            if key not in content:
                return number
            content = content[key]
        return len(place)

    deepest = max(reversed(list(files)), key=lambda name: depth(files[name]), default="config.yaml")
    return deepest if depth(files.get(deepest)) else next(iter(files), "config.yaml")


def retyped(given: Mapping[str, Any]) -> dict[str, Any]:
    """The ``--config`` that Snakemake parsed, with the numbers in lists and mappings as numbers instead of strings."""
    return {key: value if isinstance(value, str) else _retyped(value) for key, value in given.items()}


def _retyped(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _retyped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_retyped(item) for item in value]
    return yaml.safe_load(value) if isinstance(value, str) else value


def _place(line: int, column: int) -> str:
    return f"line {line}, column {column}"


def _located(problem: yaml.MarkedYAMLError) -> str:
    """A message about an error in YAML: its place, the problem, and the usual cause."""
    mark = problem.problem_mark or problem.context_mark
    where = _place(mark.line + 1, mark.column + 1) if mark else "somewhere"
    reason = " ".join(f"{problem.problem or problem.context}".split()).rstrip(".")
    if r"'\t'" in reason:
        return f"{where}: there is a tab; indent with spaces."
    repeated = isinstance(problem, _RepeatedKey)
    fix = "" if repeated else " Look at the indentation, brackets and quotes there and just before."
    return f"{where}: {reason}.{fix}"


class _RepeatedKey(yaml.MarkedYAMLError):
    """A block has the same key twice."""


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which also refuses a repeated key."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise _RepeatedKey(
                    problem=f"this block has the key {key.value!r} again; keep one", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return node
