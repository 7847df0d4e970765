"""Atomic writes (to a temporary name, then a rename), file locks, and checksums."""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import functools
import hashlib
import json
import os
import reprlib
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any

from lra.errors import LraError
from lra.paths import SEALED_FILES

WITHOUT_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}
"""Error numbers of a file system without locks."""

LARGEST_JSON = 1 << 26
"""Largest JSON file that is read: 64 MiB, about a thousand times the size of this project's files."""


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; it is renamed to ``path`` on success and removed on failure.

    Raises:
        LraError: ``path`` is not a regular file.
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
            problem.filename = str(path)  # the error of a full disk names no file
        raise
    finally:
        temporary.unlink(missing_ok=True)


def refuse_foreign_files(folder: Path, names: Collection[str]) -> None:
    """Refuse to replace a folder that has files other than ``names``, such as the project's folder.

    Args:
        folder: the folder; it may be missing.
        names: allowed names; ``*`` matches any characters.

    Raises:
        LraError: the folder has other files.
    """
    # Snakemake writes this file into the folders that it makes.
    kept = [".snakemake_timestamp", *names]
    held = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if strange := [name for name in held if not any(fnmatchcase(name, pattern) for pattern in kept)]:
        raise LraError(f"{folder} would be replaced, but holds {strange[0]!r}; give a folder of its own, or delete it.")


def lock(file: IO[str], *, wait: bool = True) -> bool:
    """Lock an open file until it is closed or its process ends.

    On a file system without locks (Lustre without ``flock``, some NFS), warn once and continue without a lock.

    Returns:
        False where another process holds the lock and ``wait`` is false.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as problem:
        if problem.errno not in WITHOUT_LOCKS:
            raise
        _warn_of_missing_locks()
    return True


@functools.cache
def _warn_of_missing_locks() -> None:
    print(
        "warning: this file system has no locks, so nothing keeps two processes apart: never run two snakemake, or two "
        "lra commands that write the same files, at once.",
        file=sys.stderr,
        flush=True,
    )


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold a lock on ``path``; wait while another process holds it. The lock is released if the process dies."""
    guard = path.with_name(f".{path.name}.guard")
    guard.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with guard.open("a") as file:
            lock(file)
            # The previous holder removes the guard file at the end, and a lock on a removed file has no effect.
            if _is(file, guard):
                try:
                    yield
                finally:
                    guard.unlink(missing_ok=True)  # without locks, another process may have removed it
                return


def _is(file: IO[str], path: Path) -> bool:
    """Whether ``path`` is still the open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def atomic_directory(target: Path, names: Collection[str]) -> Iterator[Path]:
    """Yield an empty folder ``<target>.part``; it replaces ``target`` on success and is removed on failure.

    Only one process at a time builds a folder; others wait.

    Args:
        target: the folder.
        names: allowed names at its top level, see :func:`refuse_foreign_files`.

    Raises:
        LraError: ``target`` cannot be written, is a file, or has other files.
    """
    if target.exists() and not target.is_dir():
        raise LraError(f"{target} is a file, not a folder; give another name.")
    refuse_foreign_files(target, names)
    target = target.resolve()  # keeps a symbolic link to a folder
    part = target.with_name(f"{target.name}.part")
    try:
        with file_lock(target), contextlib.ExitStack() as stack:
            shutil.rmtree(part, ignore_errors=True)
            stack.callback(shutil.rmtree, part, ignore_errors=True)
            part.mkdir(parents=True)
            yield part
            if target.exists():
                shutil.rmtree(target)
            part.rename(target)
    except OSError as problem:
        raise LraError(f"{target} could not be made: {problem}.") from problem


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, with keys in the given order."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a CSV file with a header atomically; None becomes an empty field."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(columns)
        table.writerows(rows)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        LraError: the file is missing, unreadable or not JSON.
    """
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ValueError(f"it is larger than {LARGEST_JSON >> 20} MiB")
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LraError(f"{path} is not there; make it first, or check the path.") from None
    except OSError as problem:  # for example, no permission: the file itself may be good
        raise LraError(f"{path} cannot be read: {problem.strerror}; correct that.") from problem
    except (ValueError, RecursionError) as problem:
        raise LraError(f"{path} cannot be read ({problem}); delete it and make it again.") from problem


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Add a ``checksum`` to JSON content, which reveals edits by hand."""
    plain = json.loads(json.dumps(content))
    return {**plain, "checksum": checksum(plain)}


def checksum(content: Mapping[str, Any]) -> str:
    """SHA-256 of JSON content with sorted keys, without its entry ``checksum``."""
    rest = {name: value for name, value in content.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_metrics(path: Path, needed: Mapping[str, Any]) -> dict[str, Any]:
    """Read a run's ``metrics.json`` and check it.

    Args:
        path: the file.
        needed: required keys with their types or unions of types, such as ``int | None``.

    Raises:
        LraError: the file is missing, not JSON, lacks a key, has a value of another type, or was edited by hand.
    """
    return check_metrics(read_json(path), needed, path)


def check_metrics(metrics: Any, needed: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Check the content of a ``metrics.json`` that was read from ``path``; see :func:`read_metrics`."""
    for name, kind in (*needed.items(), ("files", dict)):
        if not isinstance(metrics, dict) or name not in metrics:
            problem = f"it has no {name!r}"
        elif not isinstance(metrics[name], kind):
            problem = f"its {name!r} is {reprlib.repr(metrics[name])}"
        else:
            continue
        raise LraError(f"{path} is not the metrics.json of a run ({problem}); train this run again.")
    if metrics.get("checksum") != checksum(metrics):
        raise LraError(f"{path} is not what the run wrote: its checksum differs; train this run again.")
    return dict(metrics)


def refuse_foreign_run_files(folder: Path, metrics: Mapping[str, Any], names: Collection[str] = SEALED_FILES) -> None:
    """Compare the existing files of a run with the checksums in its ``metrics.json``.

    Raises:
        LraError: a file is damaged, was edited, or belongs to another run.
    """
    for name in names:
        if (path := folder / name).is_file() and sha256(path) != metrics["files"].get(name):
            raise LraError(
                f"{path} is damaged or another run's: metrics.json has another checksum; train this run again."
            )


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
