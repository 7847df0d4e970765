"""A loopback server, a second one, and a data folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.data.fetching import BODY, Folder
from tests.data.site import Site, serve


@pytest.fixture
def site() -> Iterator[Site]:
    with serve(BODY) as site:
        yield site


@pytest.fixture
def mirror() -> Iterator[Site]:
    with serve(BODY) as site:
        yield site


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)
