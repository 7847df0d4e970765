"""An artefact's content stays what it was at first use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.data.fetching import BODY, OTHER, Folder, environment, names, url
from tests.data.site import Site

from lra.data import lockfile
from lra.data.lockfile import content_of, recorded


def test_another_content_than_at_first_use_is_refused_until_the_entry_is_deleted(site: Site, folder: Folder) -> None:
    folder.fetch(site)
    folder.target.unlink()
    site.usually(body=OTHER)
    message = folder.refuse(site)
    assert f"is not what archive was at first use (file, {len(OTHER)} bytes" in message
    assert f"delete the entry 'archive' in {folder.lock}" in message
    assert folder.files() == ["lock.json"]
    folder.lock.write_text("{}")
    assert folder.fetch(site) == OTHER


def test_a_mirror_with_the_recorded_content_is_taken(site: Site, mirror: Site, folder: Folder) -> None:
    folder.fetch(site)
    folder.target.unlink()
    site.usually(body=OTHER)
    assert folder.fetch(site, mirror) == BODY
    assert recorded(folder.lock, "archive").source == str(url(site))  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["not JSON", '{"archive": {"size": 1}}', '{"archive": 3}', "[]"])
def test_a_damaged_lock_file_is_one_sentence(site: Site, folder: Folder, text: str) -> None:
    folder.path.mkdir()
    folder.lock.write_text(text)
    assert "lock.json" in folder.refuse(site)
    assert site.ranges == []


def test_processes_record_in_one_lock_file_at_once(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from lra.data.lockfile import Content, record
for i in range(25):
    record(Path(sys.argv[1]), f"{sys.argv[2]}-{i}", Content("file", "0" * 64, i), "somewhere")
"""
    lock = tmp_path / "lock.json"
    command = [sys.executable, "-c", script, str(lock)]
    processes = [subprocess.Popen([*command, str(number)], env=environment()) for number in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert len(json.loads(lock.read_text())) == 100
    assert names(tmp_path) == ["lock.json"]


@pytest.mark.parametrize(("most", "kind"), [(2, "files"), (1, "folder")])
def test_a_folders_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, kind: str) -> None:
    """It is that of names and contents; of too many files, that of names and sizes."""
    monkeypatch.setattr(lockfile, "MOST_READ", most)
    contents = []
    for name, files in (("a", ["x", "y/z"]), ("b", ["y/z", "x"]), ("c", ["x", "y/zz"]), ("d", ["x"])):
        for file in files:
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("text")
        contents.append(content_of(tmp_path / name))
    assert contents[0] == contents[1]
    assert len({content.sha256 for content in contents}) == 3
    assert contents[0].kind == kind
    (tmp_path / "a/x").write_text("next")
    assert (content_of(tmp_path / "a") != contents[0]) == (kind == "files")
    (tmp_path / "a/x").write_text("longer")
    assert content_of(tmp_path / "a") != contents[0]


def test_a_folder_with_a_link_to_nowhere(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert content_of(tmp_path).kind == "files"
