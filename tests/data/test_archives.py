"""Tars as they should be, and broken or hostile in every way that is known."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from tests.data.fetching import contents, names

from lra.data import archives
from lra.data.archives import extract
from lra.errors import LraError


def tar_with(path: Path, *members: tarfile.TarInfo, content: bytes = b"content") -> Path:
    with tarfile.open(path, "w") as tar:
        for member in members:
            member.size = len(content) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, linkname: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, linkname
    return info


def assert_refused(archive: Path, target: Path, patterns: list[str], *words: str) -> None:
    """``extract`` raises one sentence with these words, and leaves nothing."""
    before = set(target.parent.rglob("*"))
    with pytest.raises(LraError) as error:
        extract(archive, target, patterns)
    for word in (archive.name, *words):
        assert word in str(error.value)
    assert set(target.parent.rglob("*")) == before


def test_missing_archive(tmp_path: Path) -> None:
    assert_refused(tmp_path / "none.gz", tmp_path / "out", ["*"], "is not there")


def test_a_tar_cut_between_two_members_is_noticed(tmp_path: Path) -> None:
    whole = tar_with(tmp_path / "a.tar", member("a"), member("b")).read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:1024])
    assert_refused(tmp_path / "a.tar", tmp_path / "out", ["a"], "cut short near byte 1024, in or after 'a'")


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(tmp_path: Path) -> None:
    data = bytearray(tar_with(tmp_path / "a.tar", member("a"), member("b"), member("c")).read_bytes())
    data[1024 + 10] ^= 1
    (tmp_path / "a.tar").write_bytes(data)
    assert_refused(tmp_path / "a.tar", tmp_path / "out", ["a"], "in or after 'a' (bad checksum)")


def test_a_wanted_file_cut_short_is_noticed_even_in_a_verified_archive(tmp_path: Path) -> None:
    whole = tar_with(tmp_path / "a.tar", member("a")).read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:515])
    with pytest.raises(LraError, match="it ends within a file"):
        extract(tmp_path / "a.tar", tmp_path / "out", ["a"], verified=True)


@pytest.mark.parametrize(
    "content", [b"", b"no archive at all" * 100, b"<html>sorry</html>", gzip.compress(b"text" * 999, mtime=0)]
)
def test_something_else_than_an_archive(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(content)
    assert_refused(path, tmp_path / "out", ["*"], "is no tar archive")


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "a/../evil", "/evil", "/a/evil", "//evil"])
def test_a_wanted_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    archive = tar_with(tmp_path / "a.tar", member("good"), member(name))
    (tmp_path / "below").mkdir()
    patterns = ["*", "*/*", "*/*/*"]
    assert_refused(archive, tmp_path / "below" / "out", patterns, repr(name), "leads out of the folder")


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a device or pipe"),
        (tarfile.BLKTYPE, "a device or pipe"),
        (tarfile.FIFOTYPE, "a device or pipe"),
        (tarfile.CONTTYPE, "something else than a plain file"),
    ],
)
def test_a_wanted_member_that_is_no_plain_file_is_refused(tmp_path: Path, kind: bytes, word: str) -> None:
    archive = tar_with(tmp_path / "a.tar", member("good"), member("bad", kind, "/etc/passwd"))
    assert_refused(archive, tmp_path / "out", ["good", "bad"], "'bad'", word)


def test_unwanted_links_and_names_are_passed_over(tmp_path: Path) -> None:
    bad = [
        member("../evil"),
        member("/evil"),
        member("link", tarfile.SYMTYPE, "/etc"),
        member("pipe", tarfile.FIFOTYPE),
    ]
    archive = tar_with(tmp_path / "a.tar", *bad, member("./good/file"), member("good/._file"))
    (tmp_path / "below").mkdir()
    target = extract(archive, tmp_path / "below" / "out", ["good/*"])
    assert contents(target) == {"good/file": b"content"}
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar", "below", "file", "good", "out"]


def test_a_link_and_then_a_file_through_it(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = member("folder", tarfile.SYMTYPE, str(tmp_path / "elsewhere"))
    archive = tar_with(tmp_path / "a.tar", link, member("folder/file"))
    extract(archive, tmp_path / "out", ["folder/*"])
    assert names(tmp_path / "elsewhere") == []
    assert contents(tmp_path / "out") == {"folder/file": b"content"}


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    archive = tar_with(tmp_path / "a.tar", member("a"), member("a"))
    with pytest.raises(LraError, match="File exists"):
        extract(archive, tmp_path / "out", ["a"])


def test_a_star_stays_within_a_folder(tmp_path: Path) -> None:
    archive = tar_with(
        tmp_path / "a.tar", member("p/a.tsv"), member("p/q/b.tsv"), member("p/aXtsv"), member("p/c.tsv.bak")
    )
    assert list(contents(extract(archive, tmp_path / "out", ["*.tsv"], prefix="p/"))) == ["a.tsv"]


def test_progress_counts_the_bytes_of_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    monkeypatch.setattr(archives, "progress", lambda *_: contextlib.nullcontext(counts.append))
    archive = tar_with(tmp_path / "a.tar", member("a"), member("b"), content=bytes(2 * archives.CHUNK))
    extract(archive, tmp_path / "out", ["a"])
    assert sum(counts) == archive.stat().st_size
    assert len(counts) > 3


def test_memory_is_bounded_for_many_and_for_large_members(tmp_path: Path) -> None:
    large = 24 * archives.CHUNK
    with gzip.open(tmp_path / "a.gz", "wb", compresslevel=1) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for i in range(8_000):
            tar.addfile(member(f"unwanted/{i}"))
        for name in ("unwanted/large", "wanted"):
            header = member(name)
            header.size = large
            with Path("/dev/zero").open("rb") as zeros:
                tar.addfile(header, zeros)
    tracemalloc.start()
    extract(tmp_path / "a.gz", tmp_path / "out", ["wanted"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "out/wanted").stat().st_size == large
    assert peak < 6 * archives.CHUNK


def test_a_header_that_claims_gigabytes_is_refused(tmp_path: Path) -> None:
    longname = member("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    longname.size = 1 << 33
    (tmp_path / "a.tar").write_bytes(longname.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    assert_refused(tmp_path / "a.tar", tmp_path / "out", ["*"], "a header of 8589934592 bytes")


def test_a_header_of_negative_size_is_refused(tmp_path: Path) -> None:
    """It would have the same bytes read again and again."""
    negative = member("unwanted")
    negative.size = -1024
    (tmp_path / "a.tar").write_bytes(negative.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    assert_refused(tmp_path / "a.tar", tmp_path / "out", ["a"], "a header of negative size")
