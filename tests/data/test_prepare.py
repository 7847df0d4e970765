"""What the manifest says of where the data came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from lra.data import prepare
from lra.data.lockfile import Content, record
from lra.files import sha256


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder ``data/sources`` whose lock file knows an archive and several files."""
    monkeypatch.chdir(tmp_path)
    folder = Path("data/sources")
    folder.mkdir(parents=True)
    for name in ("lra_release", "aan"):
        record(prepare.LOCK, name, Content("file", f"sum of {name}", 3), "somewhere")
    return folder


def test_checksum_of_a_file(sources: Path) -> None:
    (sources / "imdb").write_bytes(b"abc")
    assert prepare.checksum(sources / "imdb") == sha256(sources / "imdb")


@pytest.mark.parametrize("path", ["data/sources/aan", "data/extracted/lra_release"])
def test_checksum_of_what_a_download_became(sources: Path, path: str) -> None:
    """Of several files, or what was extracted of an archive: the sum that was locked at first use."""
    Path(path).mkdir(parents=True)
    assert prepare.checksum(Path(path)) == f"sum of {Path(path).name}"


@pytest.mark.parametrize("path", ["mine/aan", "data/sources/other"])
def test_no_checksum_of_a_folder_of_ones_own(sources: Path, path: str) -> None:
    Path(path).mkdir(parents=True)
    assert prepare.checksum(Path(path)) is None
