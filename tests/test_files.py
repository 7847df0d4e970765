"""Files that are whole or not there: what stood there before survives every failure."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lra import files
from lra.errors import LraError
from lra.files import (
    LARGEST_JSON,
    atomic_directory,
    atomic_write,
    lock,
    read_json,
    read_metrics,
    refuse_foreign_run_files,
    sealed,
    sha256,
    write_csv,
    write_json,
)

NAMES = ("old", "ne*")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_replaces_another_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "file.txt"
    for content in ("old", "new"):
        with atomic_write(path) as temporary:
            temporary.write_text(content)
            assert temporary.parent == path.parent and path.exists() == (content == "new")
    assert path.read_text() == "new" and names(path.parent) == ["file.txt"]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as temporary:
        temporary.write_text("half of the new")
        raise ZeroDivisionError
    assert path.read_text() == "old" and names(tmp_path) == ["file.txt"]


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as problem, atomic_write(tmp_path / "file.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert problem.value.filename == str(tmp_path / "file.txt") and names(tmp_path) == []


@pytest.mark.parametrize(("path", "told"), [("folder", "it is a folder"), ("/dev/null", "it is no plain file")])
def test_no_file_is_written_over_something_else(path: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(LraError, match=f"cannot be written: {told}"), atomic_write(tmp_path / path):
        raise AssertionError


def test_a_folder_replaces_another_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for name in ("old", "new"):
        with atomic_directory(target, NAMES) as part:
            (part / name).touch()
    assert names(target) == ["new"] and names(tmp_path) == ["folder"]


def test_a_failure_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with atomic_directory(target, NAMES) as part:
        (part / "old").touch()
    with pytest.raises(ZeroDivisionError), atomic_directory(target, NAMES) as part:
        (part / "new").touch()
        raise ZeroDivisionError
    assert names(target) == ["old"] and names(tmp_path) == ["folder"]


def test_what_a_killed_process_left_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "folder.part").mkdir()
    (tmp_path / "folder.part" / "half").touch()
    with atomic_directory(tmp_path / "folder", NAMES) as part:
        (part / "new").touch()
    assert names(tmp_path / "folder") == ["new"]


def test_of_two_that_build_the_same_folder_one_waits(tmp_path: Path) -> None:
    target = tmp_path / "folder"

    def build() -> None:
        with atomic_directory(target, ["a", "b"]) as part:
            (part / "a").write_text("1")
            time.sleep(0.1)
            (part / "b").write_text("2")

    with ThreadPoolExecutor(3) as pool:
        for built in [pool.submit(build) for _ in range(3)]:
            built.result()
    assert sorted(path.name for path in target.iterdir()) == ["a", "b"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_link_to_a_folder_stays_one(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    with atomic_directory(tmp_path / "link", NAMES) as part:
        (part / "new").touch()
    assert (tmp_path / "link").is_symlink() and names(tmp_path / "elsewhere") == ["new"]


def test_a_folder_is_not_built_over_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    sentence = "file is a file, not a folder; give another name"
    with pytest.raises(LraError, match=sentence), atomic_directory(tmp_path / "file", NAMES):
        raise AssertionError
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_holds_something_else_is_not_replaced(tmp_path: Path) -> None:
    for name in ("old", "news", ".snakemake_timestamp", "mine"):
        (tmp_path / name).touch()
    with (
        pytest.raises(LraError, match="would be replaced, but holds 'mine'; give a folder of its own, or delete it"),
        atomic_directory(tmp_path, NAMES),
    ):
        raise AssertionError
    (tmp_path / "mine").unlink()
    with atomic_directory(tmp_path, NAMES):
        pass
    assert names(tmp_path) == []


def test_json_is_read_as_it_was_written(tmp_path: Path) -> None:
    value = {"b": [1, None, "ä"], "a": {}}
    write_json(tmp_path / "file.json", value)
    assert list(read_json(tmp_path / "file.json").items()) == list(value.items())
    assert json.loads((tmp_path / "file.json").read_bytes()) == value


def test_a_table_is_written_as_csv(tmp_path: Path) -> None:
    write_csv(tmp_path / "file.csv", ("a", "b, c"), [(1, None), (0.1, "two\nlines")])
    assert (tmp_path / "file.csv").read_bytes() == b'a,"b, c"\n1,\n0.1,"two\nlines"\n'


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "is not there; make it first, or check the path"),
        (b"{", "cannot be read .*; delete it and make it again"),
        (b"\xff", "cannot be read .*; delete it and make it again"),
    ],
    ids=["missing", "no JSON", "no text"],
)
def test_json_that_cannot_be_read(content: bytes | None, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LraError, match=f"^{path} {sentence}"):
        read_json(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[1]", "it has no 'seed'"),
        ('{"loss": 0}', "it has no 'seed'"),
        ('{"seed": "1", "loss": 0}', "its 'seed' is '1'"),
    ],
)
def test_metrics_that_do_not_say_what_is_needed(content: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(content)
    with pytest.raises(LraError, match=rf"is not the metrics.json of a run \({told}\); train this run again"):
        read_metrics(path, {"seed": int, "loss": float | int})


def test_metrics_that_were_edited(tmp_path: Path) -> None:
    """Another seed, attention or time, typed in, was averaged and drawn without a word."""
    path = tmp_path / "metrics.json"
    write_json(path, content := sealed({"seed": 1, "files": {}, "options": {2: 0.1, "a": (1, 2)}}))
    assert read_metrics(path, {"seed": int}) == content == sealed(content)
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 2'))
    with pytest.raises(LraError, match=r"metrics.json is not what the run wrote: .* differs; train this run again"):
        read_metrics(path, {"seed": int})


def test_files_of_a_run_belong_together(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("step\n1\n")
    metrics = {"files": {"history.csv": sha256(tmp_path / "history.csv"), "model.safetensors": "0"}}
    refuse_foreign_run_files(tmp_path, metrics)  # a reader that needs a file that is not there says so itself
    for name in ("history.csv", "predictions.parquet"):
        (tmp_path / name).write_text("")
        with pytest.raises(LraError, match=rf"{name} is damaged or another run's: .*; train this run again"):
            refuse_foreign_run_files(tmp_path, metrics, [name])


@pytest.mark.parametrize(
    ("content", "told"), [("[" * 100_000, "recursion"), (" " * (LARGEST_JSON + 1), "it is larger than 64 MiB")]
)
def test_json_that_asks_for_too_much(tmp_path: Path, content: str, told: str) -> None:
    """A folder from elsewhere may hold anything."""
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(LraError, match=rf"metrics.json cannot be read \(.*{told}"):
        read_json(tmp_path / "metrics.json")


def test_checksum_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    assert sha256(tmp_path / "file") == hashlib.sha256(b"content").hexdigest()


def test_a_lock_that_another_holds(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as first, (tmp_path / "lock").open("w") as second:
        assert lock(first, wait=False)
        assert not lock(second, wait=False)


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lustre and some NFS: the work is done all the same, with one warning for all locks."""

    def flock(file: object, how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", flock)
    files._warn_of_missing_locks.cache_clear()
    for _ in range(2):
        with atomic_directory(tmp_path / "folder", NAMES) as part:
            (part / "old").touch()
    assert names(tmp_path) == ["folder"]
    error = capsys.readouterr().err
    assert error.count("never run two snakemake") == error.count("\n") == 1


def test_a_lock_that_fails_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, a signal: that is no reason to go on without a lock."""

    def flock(file: object, how: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("fcntl.flock", flock)
    with (tmp_path / "lock").open("w") as file, pytest.raises(OSError, match="Input/output"):
        lock(file)
