"""What the tests of fetching share: a file, and a data folder to fetch it to."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.data.site import Site

from lra.data.download import Retry, Source, fetch
from lra.errors import LraError

BODY = gzip.compress(random.Random(0).randbytes(700_000), mtime=0)
OTHER = gzip.compress(random.Random(1).randbytes(700_000), mtime=0)
SHA256 = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY).hexdigest()
HALF = len(BODY) // 2
PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"
HASTE = Retry(tries=3, first=0, timeout=5)


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def environment() -> dict[str, str]:
    """For a process that imports what this one can."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def url(site: Site, **known: Any) -> Source:
    """The site's file as a source."""
    return Source(url=f"{site.address}/file.gz", **known)


def resume(offset: int) -> str:
    """The Range header that asks for the rest."""
    return f"bytes={offset}-"


class Folder:
    """A data folder: what a test fetches, and what is there afterwards."""

    def __init__(self, path: Path) -> None:
        self.path = path / "sources"
        self.target = self.path / "archive"
        self.lock = self.path / "lock.json"

    def fetch(self, *sources: Source | Site, **options: Any) -> bytes:
        given = [source if isinstance(source, Source) else url(source) for source in sources]
        assert fetch("archive", given, self.target, self.lock, **{"retry": HASTE, **options}) == self.target
        return self.target.read_bytes()

    def refuse(self, *sources: Source | Site, **options: Any) -> str:
        with pytest.raises(LraError) as error:
            self.fetch(*sources, **options)
        assert "Traceback" not in str(error.value)
        assert not self.target.exists()
        return str(error.value)

    def files(self) -> list[str]:
        return names(self.path)

    @property
    def part(self) -> Path:
        return self.path / "archive.part"
