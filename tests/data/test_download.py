"""Sources of every kind, what is wrong with them, and the next one."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from tests.data.fetching import BODY, HALF, MD5, OTHER, PAGE, SHA256, Folder, resume, url
from tests.data.site import Answer, Site, serve

from lra.config.mapping import from_mapping
from lra.data import download
from lra.data.download import Source, fetch
from lra.data.lockfile import recorded
from lra.data.ways import ways_on
from lra.errors import LraError


def test_a_source_is_read_from_a_mapping() -> None:
    source = from_mapping(Source, {"url": "https://host/a.gz", "size": 3, "md5": MD5}, "sources.archive")
    assert source == Source(url="https://host/a.gz", size=3, md5=MD5)
    assert str(source) == "https://host/a.gz"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "exactly one of url, path and package, not none of them"),
        ({"url": "https://h/a", "path": "b"}, "exactly one of url, path and package, not url and path"),
        ({"url": "ftp://host/file"}, "url 'ftp://host/file'"),
        ({"url": "file:///etc/passwd"}, "url 'file:///etc/passwd'"),
        ({"url": "http://[::1/file"}, "url 'http://[::1/file' is no address (Invalid IPv6 URL)"),
        ({"url": "https://host/get?file={a,b}"}, "must have different names, not 'get'"),
        ({"url": "https://host/{a,a}"}, "must have different names, not 'a'"),
        ({"package": "vaderSentiment"}, "vaderSentiment==3.3.2"),
        ({"package": "a==1 --index-url=evil"}, "package 'a==1 --index-url=evil'"),
        ({"package": "-r==1"}, "package '-r==1'"),
        ({"path": "a", "sha256": "abc"}, "sha256 'abc' of a"),
        ({"path": "a", "sha256": SHA256.upper()}, "64 digits"),
        ({"path": "a", "md5": SHA256}, "32 digits"),
    ],
)
def test_a_wrong_source_is_one_sentence(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(LraError) as error:
        Source(**fields)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("answer", "known", "words"),
    [
        (Answer(status=403), {}, "answered 403 Forbidden"),
        (Answer(status=404), {}, "answered 404 Not Found"),
        (Answer(kind="text/html; charset=utf-8", body=PAGE), {}, "a web page instead of the file"),
        (Answer(kind="text/html", body=b"Please log in"), {}, "a web page instead of the file"),
        (Answer(body=PAGE), {}, "a web page instead of the file"),
        (Answer(body=b"\xef\xbb\xbf \r\n<HTML>"), {}, "a web page instead of the file"),
        (Answer(body=b"just text"), {}, "is not an archive"),
        (Answer(body=b""), {}, "sent nothing"),
        (Answer(body=BODY[:HALF]), {}, "is damaged or cut short"),
        (Answer(body=BODY[:-1]), {}, "is damaged or cut short"),
        (Answer(body=BODY[:HALF] + b"x" + BODY[HALF + 1 :]), {}, "is damaged or cut short"),
        (Answer(body=OTHER), {"sha256": SHA256}, f"not the expected {SHA256}"),
        (Answer(body=OTHER), {"md5": MD5}, f"not the expected {MD5}"),
        (Answer(body=BODY + b"x"), {"size": len(BODY)}, f"is {len(BODY) + 1} bytes, not the expected {len(BODY)}"),
        (Answer(body=BODY + b"x", sized=False), {"size": len(BODY)}, f"not the expected {len(BODY)}"),
        (Answer(cut=HALF), {}, f"broke off after {HALF} of {len(BODY)} bytes"),
        (Answer(sized=False, cut=HALF), {"size": len(BODY)}, f"broke off after {HALF} of {len(BODY)} bytes"),
        (Answer(sized=False, cut=HALF), {}, "is damaged or cut short"),
        (Answer(chunked=True, cut=HALF, etag=None), {}, f"broke off after {HALF} bytes"),
        (Answer(silent=True), {}, "cannot be reached"),
    ],
)
def test_a_failing_source_is_passed_over(
    site: Site, mirror: Site, folder: Folder, answer: Answer, known: dict[str, Any], words: str
) -> None:
    site.usual = Answer(**{**vars(answer), "ignore_range": True})
    message = folder.refuse(url(site, **known))
    assert f"{site.address}/file.gz: " in message
    assert words in message
    assert not folder.lock.exists()
    assert folder.fetch(url(site, **known), mirror) == BODY
    assert folder.files() == ["archive", "lock.json"]
    entry = recorded(folder.lock, "archive")
    assert entry is not None
    assert entry.source == str(url(mirror))


@pytest.mark.parametrize("answer", [Answer(status=403), Answer(body=PAGE), Answer(body=PAGE, kind="text/html")])
def test_a_refusal_does_not_cost_what_was_downloaded(site: Site, folder: Folder, answer: Answer) -> None:
    refusal = Answer(**{**vars(answer), "ignore_range": True})
    site.first = [Answer(cut=HALF), refusal]
    folder.refuse(site)
    assert folder.part.read_bytes() == BODY[:HALF]
    assert folder.fetch(site) == BODY
    assert site.ranges[-1] == resume(HALF)


@pytest.mark.parametrize("known", [{"sha256": SHA256}, {"size": 3}, {}])
def test_what_was_proven_wrong_is_not_resumed(site: Site, folder: Folder, known: dict[str, Any]) -> None:
    site.usually(body=OTHER[:-5], sized=False)
    folder.refuse(url(site, **known))
    assert folder.files() == []


def test_when_all_fail_each_is_listed_with_the_way_out(site: Site, mirror: Site, folder: Folder) -> None:
    site.usually(status=403)
    mirror.usually(body=PAGE)
    with serve(b"") as closed:
        pass
    missing = Source(path="nowhere/file.gz")
    message = folder.refuse(site, mirror, closed, missing)
    lines = message.splitlines()
    assert lines[0] == "archive could not be had, none of its sources works:"
    assert lines[1] == f"  {site.address}/file.gz: answered 403 Forbidden"
    assert lines[2] == f"  {mirror.address}/file.gz: answered with a web page instead of the file"
    assert lines[3] == f"  {closed.address}/file.gz: cannot be reached (Connection refused) (tried 3 times)"
    assert lines[4].startswith("  nowhere/file.gz: there is no such file or folder (/")
    assert lines[5:] == ways_on("archive").splitlines()
    assert lines[7].endswith("--config scale=paper 'sources={archive: [{path: /your/file}]}'")
    assert folder.files() == []


def test_no_sources(folder: Folder) -> None:
    assert folder.refuse() == f"archive could not be had, it has no source.\n{ways_on('archive')}"


def test_a_file_of_ones_own_is_linked_to(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "mine.gz").write_bytes(BODY)
    assert folder.fetch(Source(path=str(tmp_path / "mine.gz"), sha256=SHA256)) == BODY
    assert folder.target.readlink() == tmp_path / "mine.gz"
    assert folder.files() == ["archive", "lock.json"]
    assert folder.fetch(Source(path=str(tmp_path / "mine.gz"))) == BODY


def test_a_path_starts_at_home_or_in_the_current_folder(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.gz").write_bytes(BODY)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder.fetch(Source(path="~/mine.gz")) == BODY
    monkeypatch.chdir(tmp_path)
    assert folder.fetch(Source(path="mine.gz")) == BODY
    assert folder.target.readlink() == tmp_path / "mine.gz"


def test_a_path_and_a_download_replace_each_other(site: Site, folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "mine.gz").write_bytes(BODY)
    mine = Source(path=str(tmp_path / "mine.gz"))
    folder.fetch(mine)
    folder.fetch(site)
    assert not folder.target.is_symlink()
    assert (tmp_path / "mine.gz").read_bytes() == BODY
    folder.target.write_bytes(b"damaged")
    folder.fetch(mine)
    assert folder.target.is_symlink()


def test_a_path_that_is_the_target_itself(folder: Folder) -> None:
    folder.path.mkdir()
    folder.target.write_bytes(BODY)
    assert folder.fetch(Source(path=str(folder.target))) == BODY
    assert not folder.target.is_symlink()


@pytest.mark.parametrize(
    ("content", "known", "words"),
    [
        (None, {}, "there is no such file or folder"),
        (PAGE, {}, "is a web page, not the file"),
        (b"text", {}, "is not an archive"),
        (BODY[:-9], {}, "is damaged or cut short near byte"),
        (OTHER, {"sha256": SHA256}, "has the sha256"),
        (OTHER, {"md5": MD5}, "has the md5"),
        (BODY, {"size": 5}, f"is {len(BODY)} bytes, not the expected 5"),
    ],
)
def test_a_wrong_file_of_ones_own_is_left_alone(
    folder: Folder, tmp_path: Path, content: bytes | None, known: dict[str, Any], words: str
) -> None:
    path = tmp_path / "mine.gz"
    if content is not None:
        path.write_bytes(content)
    assert words in folder.refuse(Source(path=str(path), **known))
    assert folder.files() == []
    assert content is None or path.read_bytes() == content


def test_a_file_that_one_may_not_read(folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To root everything is readable, so that the answer is pretended."""
    path = tmp_path / "mine.gz"
    path.write_bytes(BODY)
    monkeypatch.setattr(download.os, "access", lambda *asked: asked != (path, os.R_OK))
    assert f"  {path}: you may not read it\n" in folder.refuse(Source(path=str(path)))


def test_a_folder_of_ones_own(folder: Folder, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "below").mkdir(parents=True)
    (mine / "below/file").write_text("content")
    source = Source(path=str(mine))
    assert fetch("archive", [source], folder.target, folder.lock) == folder.target
    assert folder.target.readlink() == mine
    assert recorded(folder.lock, "archive").kind == "files"  # type: ignore[union-attr]
    (mine / "below/file").write_text("another")
    with pytest.raises(LraError, match=r"is not what archive was at first use \(files"):
        fetch("archive", [source], folder.target, folder.lock)
    with pytest.raises(LraError, match="are for files"):
        fetch("other", [Source(path=str(mine), sha256=SHA256)], folder.path / "other", folder.lock)


BACKEND = """
import os
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    os.mkdir(f"{folder}/snippets-1.0.dist-info")
    with open(f"{folder}/snippets-1.0.dist-info/METADATA", "w") as file:
        file.write("Metadata-Version: 2.1\\nName: snippets\\nVersion: 1.0\\n")
    return "snippets-1.0.dist-info"
"""
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source distribution in a folder that pip is told to look at, and nowhere else."""
    path = tmp_path / "index" / "snippets-1.0.tar.gz"
    path.parent.mkdir()
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: snippets\nVersion: 1.0\n",
        "pyproject.toml": PYPROJECT,
        "backend.py": BACKEND,
        "data.tsv": "1\ttext\n",
    }
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            header = tarfile.TarInfo(f"snippets-1.0/{name}")
            header.size = len(text)
            tar.addfile(header, io.BytesIO(text.encode()))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    return path


@pytest.mark.parametrize("pinned", [True, False])
def test_a_package(package: Path, folder: Folder, pinned: bool) -> None:
    sha256 = hashlib.sha256(package.read_bytes()).hexdigest()
    assert folder.fetch(Source(package="snippets==1.0", sha256=sha256 if pinned else None)) == package.read_bytes()
    assert folder.files() == ["archive", "lock.json"]
    assert recorded(folder.lock, "archive").sha256 == sha256  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Source(package="snippets==1.0", sha256=SHA256), "DO NOT MATCH THE HASHES"),
        (Source(package="snippets==2.0"), "No matching distribution found for snippets==2.0"),
        (Source(package="absent==1.0"), "No matching distribution found for absent==1.0"),
    ],
)
def test_a_package_that_pip_does_not_get(package: Path, folder: Folder, source: Source, words: str) -> None:
    message = folder.refuse(source)
    assert "pip could not download it" in message
    assert words in message
    assert folder.files() == []


def test_a_python_without_pip(package: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = package.parent / "python"
    environment.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    environment.chmod(0o755)
    monkeypatch.setattr(download.sys, "executable", str(environment))
    assert "No module named pip" in folder.refuse(Source(package="snippets==1.0"))
