"""What the manifest says of where the data came from, and what is said of rows in two splits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from lra import paths
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
        record(paths.LOCK, name, Content("file", f"sum of {name}", 3), "somewhere")
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


PAIR = b"%d.0\ta\tb\t%s\t%s\n"


def prepare_pairs(folder: Path, files: Mapping[str, bytes]) -> None:
    for split, lines in files.items():
        (folder / f"new_aan_pairs.{split}.tsv").write_bytes(lines)
    prepare.prepare("retrieval", {"source": "aan"}, folder, folder / "shards", workers=1)


def test_rows_in_two_splits_are_said_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever their labels; of two texts both must be the same, and a repeated row counts as often as it is there."""
    train = PAIR % (0, b"one", b"two") * 2 + PAIR % (0, b"two", b"one") + PAIR % (0, b"on", b"etwo")
    test = PAIR % (1, b"one", b"two") + PAIR % (0, b"new", b"er")
    prepare_pairs(tmp_path, {"train": train, "eval": PAIR % (1, b"ne", b"w"), "test": test})
    assert caplog.messages == [
        "warning: retrieval has rows that are in another split too (train 2 of 4, test 1 of 2): scores may show what "
        "was learned by heart."
    ]


def test_nothing_is_said_of_rows_repeated_in_one_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = {split: PAIR % (1, split.encode(), b"x") * 2 for split in ("train", "eval", "test")}
    prepare_pairs(tmp_path, lines)
    assert caplog.messages == []
