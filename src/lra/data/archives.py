"""The wanted files of a tar, in one pass with bounded memory, and the release of the Long Range Arena.

A folder that holds the unpacked files is read like the archive.
"""

from __future__ import annotations

import contextlib
import gzip
import posixpath
import re
import tarfile
import zlib
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from lra.data.progress import progress
from lra.errors import LraError
from lra.files import atomic_directory

CHUNK = 1 << 20


@dataclass(frozen=True)
class Member:
    """A wanted file: its name below the prefix, bytes, and its content in pieces of at most CHUNK bytes."""

    name: str
    size: int
    chunks: Iterator[bytes]


def extract(
    archive: Path, target: Path, patterns: Collection[str], *, prefix: str = "", verified: bool = False
) -> Path:
    """Extract the files that match ``patterns`` to the folder ``target``; arguments and errors as :func:`members`."""
    with atomic_directory(target, [pattern.partition("/")[0] for pattern in patterns]) as part:
        for member in members(archive, patterns, prefix=prefix, verified=verified):
            save(member, part)
    return target


def members(archive: Path, patterns: Collection[str], *, prefix: str = "", verified: bool = False) -> Iterator[Member]:
    """The files that match ``patterns``, in the archive's order; each must be read before the next is asked for.

    The archive is read to its end even after all files were found, because damage can show only there.

    Args:
        archive: a tar, packed with gzip or not; or a folder with its files, as unpacked or from ``prefix`` down.
        patterns: names below ``prefix``, where ``*`` stands for any characters but ``/``; hidden files are left out.
        prefix: folder inside the archive, ending in ``/``.
        verified: the archive's checksum was compared, so that reading may stop once every pattern without ``*`` was
            found and there is no other.

    Raises:
        LraError: the archive is missing, damaged, cut short, or lacks a pattern; a wanted member is a link or a device,
            or its name leads out of the folder.
    """
    if not archive.exists():
        raise LraError(f"{archive} is not there; fetch it first.")
    wanted = _Wanted(patterns)
    found = _folder_members(archive, prefix, patterns) if archive.is_dir() else _tar_members(archive, prefix, wanted)
    with contextlib.closing(found):
        for member in found:
            wanted.found(member.name)
            yield member
            if verified and wanted.nothing_more:
                return
    if wanted.missing:
        names = ", ".join(prefix + name for name in sorted(wanted.missing))
        raise LraError(f"{archive} has no {names}; is it the right archive? Check its source in config.yaml.")


def save(member: Member, folder: Path) -> None:
    """Write a member below ``folder``."""
    path = folder / member.name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.writelines(member.chunks)


class _Wanted:
    """The patterns of the wanted files, and those that no file has matched yet."""

    def __init__(self, patterns: Collection[str]) -> None:
        self._regexes = {pattern: re.compile("[^/]*".join(map(re.escape, pattern.split("*")))) for pattern in patterns}
        self._may_stop = not any("*" in pattern for pattern in patterns)
        self.missing = set(patterns)

    def __contains__(self, name: str) -> bool:
        return not _is_hidden(name) and any(regex.fullmatch(name) for regex in self._regexes.values())

    def found(self, name: str) -> None:
        self.missing -= {pattern for pattern in self.missing if self._regexes[pattern].fullmatch(name)}

    @property
    def nothing_more(self) -> bool:
        return self._may_stop and not self.missing


def _is_hidden(name: str) -> bool:
    return posixpath.basename(name).startswith(".")


def _folder_members(folder: Path, prefix: str, patterns: Collection[str]) -> Generator[Member, None, None]:
    parts = [part for part in prefix.split("/") if part]
    roots = (folder.joinpath(*parts[start:]) for start in range(len(parts) + 1))
    root = next(root for root in roots if root.is_dir())
    for path in sorted({path for pattern in patterns for path in root.glob(pattern)}):
        if path.is_file() and not _is_hidden(path.name):
            with path.open("rb") as file:
                chunks = iter(partial(file.read, CHUNK), b"")
                yield Member(path.relative_to(root).as_posix(), path.stat().st_size, chunks)


def _tar_members(archive: Path, prefix: str, wanted: _Wanted) -> Generator[Member, None, None]:
    with archive.open("rb") as raw, progress(archive.name, archive.stat().st_size) as advance:
        stream = _Stream(archive, raw, advance)
        try:
            tar = tarfile.TarFile(fileobj=stream, tarinfo=_Header)  # type: ignore[arg-type]
            while (header := tar.next()) is not None:
                # tarfile keeps every member in memory, gigabytes for millions of them.
                tar.members.clear()  # type: ignore[attr-defined]
                stream.member = header.name
                path = posixpath.normpath(header.name.lstrip("/"))
                name = path.removeprefix(prefix)
                if path.startswith(prefix) and name in wanted and not header.isdir():
                    _check(archive, header)
                    yield Member(name, header.size, stream.chunks(header.size))
            while stream.read(CHUNK):
                pass
        except (tarfile.TarError, ValueError) as problem:
            raise stream.damaged(problem) from problem


def _check(archive: Path, header: tarfile.TarInfo) -> None:
    """Accept nothing but plain files below the folder."""
    if header.name.startswith("/") or ".." in header.name.split("/"):
        raise LraError(
            f"{archive} holds {header.name!r}, a name that leads out of the folder; it is not to be trusted."
        )
    if header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or header.issparse():
        kind = next((kind for test, kind in _KINDS if test(header)), "something else than a plain file")
        raise LraError(f"{archive} holds {header.name!r} as {kind}; only plain files are accepted.")


_KINDS: Sequence[tuple[Callable[[tarfile.TarInfo], bool], str]] = (
    (tarfile.TarInfo.issym, "a symbolic link"),
    (tarfile.TarInfo.islnk, "a hard link"),
    (tarfile.TarInfo.isdev, "a device or pipe"),
)


class _Header(tarfile.TarInfo):
    """A header that raises if it is damaged; tarfile takes a damaged header for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as problem:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise
            raise tarfile.ReadError(str(problem)) from problem


class _Stream:
    """The bytes of a tar as tarfile reads them, forward only, counting what has been read of the file below."""

    def __init__(self, archive: Path, raw: IO[bytes], advance: Callable[[int], object]) -> None:
        is_gzip = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        self._stream: IO[bytes] | gzip.GzipFile = gzip.GzipFile(fileobj=raw) if is_gzip else raw
        self._archive, self._raw, self._advance = archive, raw, advance
        self._position = self._reported = self._next_report = 0
        self.member = ""

    def damaged(self, problem: Any) -> LraError:
        where = f"near byte {self._raw.tell()}" + (f", in or after {self.member!r}" if self.member else "")
        return LraError(f"{self._archive} is no tar archive, damaged or cut short {where} ({problem}); fetch it again.")

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        if not 0 <= size <= CHUNK:
            raise self.damaged(f"a header of {size} bytes")
        try:
            data = self._stream.read(size)
        except (EOFError, OSError, zlib.error) as problem:
            raise self.damaged(problem) from problem
        self._position += len(data)
        if self._position >= self._next_report or not data:
            packed = self._raw.tell()
            self._advance(packed - self._reported)
            self._reported, self._next_report = packed, self._position + CHUNK
        return data

    def seek(self, position: int) -> None:
        if position < self._position:
            raise self.damaged("a header of negative size")
        for _ in self.chunks(position - self._position):
            pass

    def chunks(self, size: int) -> Iterator[bytes]:
        while size:
            data = self.read(min(size, CHUNK))
            if not data:
                raise self.damaged("it ends within a file")
            size -= len(data)
            yield data
