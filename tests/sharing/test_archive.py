"""What an archive of a stranger cannot do: write elsewhere, bring links, fill the disk."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from lra.errors import LraError
from lra.sharing import archive as module
from lra.sharing.archive import unpack


def tar(path: Path, names: Sequence[str], kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name in names:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            member.size = 1 if kind == tarfile.REGTYPE else 0
            file.addfile(member, io.BytesIO(b"x"))
    return path


def zipped(path: Path, names: Sequence[str], mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            file.writestr(entry, "" if name.endswith("/") else "x")
    return path


def in_tar(folder: Path, names: Sequence[str]) -> Path:
    return tar(folder / "x.tar.gz", names)


def in_zip(folder: Path, names: Sequence[str]) -> Path:
    return zipped(folder / "x.zip", names)


@pytest.mark.parametrize("make", [in_tar, in_zip])
class TestBothKinds:
    @pytest.mark.parametrize("name", ["../metrics.json", "/etc/metrics.json", "a/../../metrics.json"])
    def test_a_path_that_leads_out(self, tmp_path, make, name):  # type: ignore[no-untyped-def]
        with pytest.raises(LraError, match="leads out of the archive, so the archive is refused"):
            unpack(make(tmp_path, [name]), tmp_path / "into")
        assert not (tmp_path / "into").exists()

    def test_only_the_files_of_runs_are_written_and_never_where_the_archive_says(self, tmp_path, make):  # type: ignore[no-untyped-def]
        names = ["a/metrics.json", "a/history.csv", "b/c/metrics.json", "b/c/run.py", "checkpoint.pt"]
        unpack(make(tmp_path, names), tmp_path / "into")
        written = sorted(path.relative_to(tmp_path / "into").as_posix() for path in (tmp_path / "into").rglob("*.*"))
        assert written == ["0/history.csv", "0/metrics.json", "1/metrics.json"]

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_a_name_given_twice(self, tmp_path, make):  # type: ignore[no-untyped-def]
        with pytest.raises(LraError, match="twice"):
            unpack(make(tmp_path, ["a/metrics.json"] * 2), tmp_path / "into")

    def test_too_many_files(self, tmp_path, make, monkeypatch):  # type: ignore[no-untyped-def]
        monkeypatch.setattr(module, "MAX_MEMBERS", 2)
        with pytest.raises(LraError, match="more than 2 files"):
            unpack(make(tmp_path, ["a/x", "b/x", "c/x"]), tmp_path / "into")

    def test_a_file_that_grows(self, tmp_path, make, monkeypatch):  # type: ignore[no-untyped-def]
        """The size that an archive names is not believed: what is written is counted."""
        monkeypatch.setitem(module.MAX_BYTES, "metrics.json", 0)
        with pytest.raises(LraError, match=r"a/metrics.json is larger than 0 MiB"):
            unpack(make(tmp_path, ["a/metrics.json"]), tmp_path / "into")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(LraError, match=r"'a/metrics\.json' is not a regular file"):
        unpack(tar(tmp_path / "x.tar.gz", ["a/metrics.json"], kind), tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_links_in_a_zip(tmp_path: Path) -> None:
    with pytest.raises(LraError, match=r"'a/metrics\.json' is not a regular file"):
        unpack(zipped(tmp_path / "x.zip", ["a/metrics.json"], stat.S_IFLNK), tmp_path / "into")


def test_folders_are_passed_over(tmp_path: Path) -> None:
    unpack(zipped(tmp_path / "x.zip", ["a/"]), tmp_path / "into")
    unpack(tar(tmp_path / "x.tar.gz", ["a"], tarfile.DIRTYPE), tmp_path / "into")
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
def test_damaged(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no archive at all")
    with pytest.raises(LraError, match=r"cannot be read .*; get it again\."):
        unpack(tmp_path / name, tmp_path / "into")
