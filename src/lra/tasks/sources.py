"""Shared by the tasks: checks of a source, and reading of lines and archives."""

from __future__ import annotations

import tarfile
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lra.errors import LraError, nearest
from lra.tasks.contract import Rows

BLOCK = 2**19
"""Bytes read at a time; they fit in the cache of a processor core."""


def check_source(task: str, name: str, known: Sequence[str], path: Path | None) -> None:
    """Raise unless ``name`` is a source that the task knows, with a path unless it is "generate"."""
    if name not in known:
        raise LraError(f"{task}: unknown data source {name!r}.{nearest(name, known)} Known: {', '.join(known)}.")
    if name != "generate" and path is None:
        raise LraError(f"{task}: data source {name!r} is not given; name it under `sources` in config.yaml.")


def required_rows(task: str, source: str, rows: Rows | None) -> Rows:
    """``rows``, which a source requires if it generates or chooses its rows."""
    if rows is None:
        raise LraError(
            f"{task}: data source {source!r} needs `rows: {{train: ..., dev: ..., test: ...}}` in config.yaml."
        )
    return rows


def folder_of(source: Path, name: str) -> Path:
    """The folder ``name`` of the Arena's extracted archive; of another source, ``source`` itself."""
    return source / name if (source / name).is_dir() else source


def line_blocks(path: Path) -> Iterator[bytes]:
    r"""Blocks of whole lines, without a byte-order mark, the last line ended with a newline if the file does not.

    Only ``\n`` ends a line; other control characters and quotes have no meaning.

    Raises:
        LraError: the file cannot be read.
    """
    rest = b""
    try:
        with path.open("rb", buffering=0) as file:
            if (start := file.read(len(BOM_UTF8))) != BOM_UTF8:
                rest = start
            while block := file.read(BLOCK):
                end = block.rfind(b"\n") + 1
                if end:
                    yield rest + block[:end]
                    rest = block[end:]
                else:
                    rest += block
    except OSError as problem:
        raise LraError(f"{path} cannot be read: {problem.strerror}.") from problem
    if rest:
        yield rest.removesuffix(b"\n") + b"\n"


def archive_files(archive: Path, wanted: Callable[[str], object]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files in a .tar.gz archive whose name is ``wanted``, in the archive's order.

    Raises:
        LraError: the file is no such archive, or it is damaged.
    """
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                if wanted(member.name) and (file := tar.extractfile(member)):
                    yield member.name, file.read()
    except (OSError, EOFError, zlib.error, tarfile.TarError) as problem:
        raise LraError(
            f"{archive} cannot be read as a .tar.gz archive ({problem}); delete it to download it again."
        ) from problem
