"""Attentions and tasks of the user's own: a missing file is reported before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lra.errors import LraError, nearest
from lra.fingerprint import defined

RESERVED = {"attention", "average", "model"}
"""Names of columns of the tables; no task may have one of them."""


def resolve_task(name: str, block: Mapping[str, Any], folder: Path, where: str) -> Mapping[str, Any]:
    """A task's settings; the paths of a user's own task are checked and joined to ``folder``.

    Args:
        name: the task's name.
        block: its settings.
        folder: the folder of config.yaml.
        where: the key in config.yaml that holds the task.

    Raises:
        LraError: a file, a function or the source is missing, or the tables have a column of this name.
    """
    data = dict(block["data"])
    if "module" not in data:
        return block
    if name in RESERVED:
        raise LraError(f"{where}: {name!r} heads a column of the tables; give your task another name.")
    where = f"{where}.{name}.data"
    data["module"] = find_own(data["module"], "function", folder, f"{where}.module")
    if data.get("source") is not None:
        source = folder / Path(data["source"]).expanduser()
        if not source.exists():
            raise LraError(f"{where}.source: the path {str(source)!r} is not there; correct it.")
        data["source"] = str(source)
    return {**block, "data": data}


def find_own(module: str, definition: Literal["class", "function"], folder: Path, where: str) -> str:
    """The place of the user's class or function, ``path/to/file.py:name`` or ``package.module:name``.

    Args:
        module: the place as config.yaml gives it.
        definition: whether it is a class or a function.
        folder: a relative path starts here.
        where: the key in config.yaml; a message starts with it.

    Raises:
        LraError: there is no such file or module, or it does not define the name.
    """
    file, _, name = module.partition(":")
    if file.endswith(".py"):
        file = str(folder / Path(file).expanduser())
    try:
        known = defined(file, definition)
    except LraError as problem:
        raise LraError(f"{where}: {problem}") from None
    if name not in known:
        raise LraError(f"{where}: {file} defines no {definition} {name!r}.{nearest(name, known)}")
    return f"{file}:{name}"
