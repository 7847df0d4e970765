"""The lock file: the checksum of each artefact at first use, against which later uses are verified.

A JSON object: artefact -> kind, sha256, size in bytes, and the source that gave it. Of several files, the sha256 is
that of lines with the name and sha256 of each. A folder of more than MOST_READ files, such as the unpacked release with
its million images, is known by the names and sizes in it; its contents are not read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lra.errors import LraError
from lra.files import file_lock, read_json, sha256, write_json

MOST_READ = 10_000
"""Files of a folder whose contents are read."""


@dataclass(frozen=True)
class Content:
    """Checksum and size in bytes of a file, of several files in a folder, or of a folder by names and sizes alone."""

    kind: Literal["file", "files", "folder"]
    sha256: str
    size: int


@dataclass(frozen=True)
class Entry(Content):
    """A line of the lock file; ``source`` is where the content came from at first use."""

    source: str

    @property
    def content(self) -> Content:
        """The entry without its source."""
        return Content(self.kind, self.sha256, self.size)


def content_of(path: Path) -> Content:
    """The content at ``path``; for a folder with very many files, only names and sizes are read."""
    if not path.is_dir():
        return Content("file", sha256(path), path.stat().st_size)
    listing = list(_listing(path))
    few = len(listing) <= MOST_READ
    digest = hashlib.sha256()
    for name, size in listing:
        seen = sha256(path / name) if few and (path / name).is_file() else size
        digest.update(f"{name}\0{seen}\n".encode("utf-8", "surrogateescape"))
    return Content("files" if few else "folder", digest.hexdigest(), sum(size for _, size in listing))


def difference(artefact: str, content: Content, entry: Entry, lock: Path) -> str | None:
    """The difference between an artefact's content and the recorded one, or None.

    The message completes a sentence that starts with the source's name.
    """
    if content == entry.content:
        return None
    return (
        f"is not what {artefact} was at first use ({content.kind}, {content.size} bytes, sha256 {content.sha256}, "
        f"not {entry.kind}, {entry.size} bytes, sha256 {entry.sha256}, from {entry.source}); to accept the new "
        f"content, delete the entry {artefact!r} in {lock}"
    )


def _listing(folder: Path) -> Iterator[tuple[str, int]]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            path = Path(parent, file)
            yield path.relative_to(folder).as_posix(), path.lstat().st_size


def recorded(lock: Path, artefact: str) -> Entry | None:
    """The entry of an artefact in the lock file, None before its first use.

    Raises:
        LraError: the lock file is damaged.
    """
    stored = _read(lock)
    try:
        return Entry(**stored[artefact]) if artefact in stored else None
    except TypeError as problem:
        raise LraError(f"{lock} is damaged at {artefact!r} ({problem}); delete that entry.") from problem


def _read(lock: Path) -> dict[str, Any]:
    stored = read_json(lock) if lock.exists() else {}
    if not isinstance(stored, dict):
        raise LraError(f"{lock} is no lock file; delete it.")
    return stored


def record(lock: Path, artefact: str, content: Content, source: str) -> Entry:
    """Record an artefact at its first use; later, return its existing entry.

    Several processes may record at once. The caller compares the entry with ``content``.
    """
    with file_lock(lock):
        entry = recorded(lock, artefact)
        if entry is None:
            entry = Entry(content.kind, content.sha256, content.size, source)
            write_json(lock, dict(sorted({**_read(lock), artefact: asdict(entry)}.items())))
        return entry
