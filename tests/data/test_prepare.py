"""What the manifest says of where the data came from, and what is said of rows in two splits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from lra import paths
from lra.cli.main import main
from lra.data import prepare
from lra.data.lockfile import content_of, record, recorded
from lra.errors import LraError
from lra.files import sha256


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder ``data/sources`` whose lock file knows a file and a folder, which is a link to one of the user's own."""
    monkeypatch.chdir(tmp_path)
    folder = Path("data/sources")
    folder.mkdir(parents=True)
    (folder / "imdb").write_bytes(b"abc")
    Path("mine").mkdir()
    Path("mine/new_aan_pairs.test.tsv").write_bytes(b"abc")
    (folder / "aan").symlink_to(Path("mine").absolute())
    for name in ("imdb", "aan"):
        record(paths.LOCK, name, content_of(folder / name), "somewhere")
    return folder


def test_checksum_is_that_of_the_lock_file(sources: Path) -> None:
    """Of what was extracted of an archive too, though it has other bytes."""
    extracted = Path("data/extracted/imdb")
    extracted.mkdir(parents=True)
    assert prepare.checksum(sources / "imdb") == prepare.checksum(extracted) == sha256(sources / "imdb")
    assert prepare.checksum(sources / "aan") == recorded(paths.LOCK, "aan").sha256  # type: ignore[union-attr]


def test_a_source_that_is_not_there_is_fetched_by_the_rule_that_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {"source": "imdb", "max_length": 100}
    for source, command in (
        (paths.source("imdb"), "snakemake --cores 1 --forcerun data/sources/imdb.ready -- prepare_text"),
        (paths.extracted("imdb"), "snakemake --cores 1 prepare_text"),
    ):
        with pytest.raises(LraError, match=f"{source} is not there; make it with `{command}`"):
            prepare.prepare("text", settings, source, Path("out"), workers=1)


@pytest.mark.parametrize("name", ["imdb", "aan"])
def test_a_source_that_was_edited_is_refused(sources: Path, name: str) -> None:
    """Rows that were changed in a folder behind `path` were taken, whatever its size."""
    edited = sources / name
    (edited / "new_aan_pairs.test.tsv" if edited.is_dir() else edited).write_bytes(b"abd")
    with pytest.raises(LraError, match=rf"is not what {name} was at first use .* delete the entry '{name}' in "):
        task = {"imdb": "text", "aan": "retrieval"}[name]
        prepare.prepare(task, {"source": name}, edited, Path("out"), workers=1)
    assert not Path("out").exists()


def test_an_edited_source_is_not_extracted(sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sources / "lra_release").symlink_to(Path("mine").absolute())
    record(paths.LOCK, "lra_release", content_of(sources / "aan"), "somewhere")
    Path("mine/new_aan_pairs.test.tsv").write_bytes(b"abd")
    assert main(["extract", "lra_release", str(sources / "lra_release"), "--verified"]) == 1
    assert "is not what lra_release was at first use" in capsys.readouterr().err


def test_checksum_of_a_source_that_the_lock_file_does_not_know(sources: Path) -> None:
    assert prepare.checksum(Path("mine")) == content_of(Path("mine")).sha256


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
        "warning: retrieval has rows that also occur in another split (train 2 of 4, test 1 of 2); accuracies may "
        "reflect memorised rows."
    ]


def test_nothing_is_said_of_rows_repeated_in_one_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = {split: PAIR % (1, split.encode(), b"x") * 2 for split in ("train", "eval", "test")}
    prepare_pairs(tmp_path, lines)
    assert caplog.messages == []
