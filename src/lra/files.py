"""Files that are either whole or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lra.errors import LraError


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to; renamed to ``path`` on success, removed on failure.

    Raises:
        LraError: ``path`` is a folder or a device.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        raise LraError(f"{path} cannot be written: it is {'a folder' if path.is_dir() else 'no plain file'}.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as problem:
        if problem.errno and not problem.filename:
            problem.filename = str(path)  # a full disk does not say which file did not fit
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def building(target: Path) -> Iterator[Path]:
    """A folder ``<target>.part`` to fill; it replaces ``target`` on success and is removed on failure.

    Raises:
        LraError: it cannot be written, or ``target`` is a file.
    """
    if target.exists() and not target.is_dir():
        raise LraError(f"{target} is a file, not a folder; give another name.")
    target = target.resolve()  # a link to a folder stays one
    part = target.with_name(f"{target.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        if target.exists():
            shutil.rmtree(target)
        part.rename(target)
    except OSError as problem:
        raise LraError(f"{target} could not be made: {problem}.") from problem
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a whole JSON file, keys in the given order."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        LraError: it is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LraError(f"{path} is not there; make it first, or check the path.") from None
    except (OSError, ValueError) as problem:
        raise LraError(f"{path} cannot be read ({problem}); delete it and make it again.") from problem


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
