"""What goes wrong on a bad day, and what must not follow from it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import shlex
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from lra.cli.main import main
from lra.files import sealed
from lra.fingerprint import _tree

DATA = Path("data/mini/listops")
RUN = Path("results/runs/mini/listops/vmean/seed-1")
TRAIN = "train --attention vmean --task listops"
MEASURE = "results/measures/listops/vmean/measure.json"

Patch = pytest.MonkeyPatch
Before = Callable[[Patch], None]


def write_config(config: Any) -> None:
    Path("config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def configured(*keys: str, value: Any) -> Before:
    """Set a key of config.yaml."""

    def before(patch: Patch) -> None:
        config = block = yaml.safe_load(Path("config.yaml").read_text())
        for key in keys[:-1]:
            block = block.setdefault(key, {})
        block[keys[-1]] = value
        write_config(config)

    return before


def attention(**blocks: dict[str, Any]) -> Before:
    """Set the settings of attentions in config.yaml, or list more of them."""

    def before(patch: Patch) -> None:
        _tree.cache_clear()  # other tests have a mine.py too
        config = yaml.safe_load(Path("config.yaml").read_text())
        config["attentions"] = [name for name in config["attentions"] if name not in blocks]
        config["attentions"] += [{name: block} for name, block in blocks.items()]
        write_config(config)

    return before


def text(path: Path | str, content: str | bytes) -> Before:
    """Write a file, in place of what is there."""

    def before(patch: Patch) -> None:
        target = Path(path)
        if target.is_dir():
            shutil.rmtree(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())

    return before


def replaced(path: str, old: str, new: str) -> Before:
    """Spell something in a file otherwise."""
    return lambda patch: text(path, Path(path).read_text().replace(old, new))(patch)


def gone(path: Path | str) -> Before:
    """Delete a file or folder."""
    return lambda patch: shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()


def cut(path: Path) -> Before:
    """Lose the second half of a file."""
    return lambda patch: os.truncate(path, path.stat().st_size // 2)


def garbled(path: Path) -> Before:
    """Overwrite a file by as many other bytes."""
    return lambda patch: path.write_bytes(b"\xa5" * path.stat().st_size) and None


def edited(path: Path, change: Callable[[Any], Any]) -> Before:
    """Change what a JSON file says, and its checksum with it, as another version or another's program may."""

    def before(patch: Patch) -> None:
        content = change(json.loads(path.read_text()))
        path.write_text(json.dumps(sealed(content) if isinstance(content, dict) else content))

    return before


def without(*packages: str) -> Before:
    """As if packages were not installed, for modules of lra.results too that are imported already."""

    def before(patch: Patch) -> None:
        for name in [name for name in sys.modules if name.startswith(("lra.results.", "lra.tasks."))]:
            patch.delitem(sys.modules, name)
        for package in packages:
            for name in [name for name in sys.modules if name.startswith(f"{package}.")]:
                patch.delitem(sys.modules, name)
            patch.setitem(sys.modules, package, None)

    return before


@contextlib.contextmanager
def disk_full_after(size: int | None) -> Iterator[None]:
    """No file may grow larger, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def archive(name: str, member: tarfile.TarInfo, content: bytes = b"") -> Before:
    """A tar with one member."""

    def before(patch: Patch) -> None:
        member.size = len(content)
        with tarfile.open(name, "w:gz") as tar:
            tar.addfile(member, io.BytesIO(content))

    return before


def member(name: str, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def all_of(*steps: Before) -> Before:
    def before(patch: Patch) -> None:
        for step in steps:
            step(patch)

    return before


@dataclass(frozen=True)
class Day:
    """A command that cannot succeed, what its sentence says, and what went wrong before."""

    command: str
    says: str
    before: Before = lambda patch: None
    code: int = 1
    lines: int = 1
    disk: int | None = None
    leaves: str = ""
    """Pattern of the new files that it may leave, as those of an unfinished run in the store."""


def sources(*given: dict[str, Any]) -> str:
    return f"--sources {shlex.quote(json.dumps(given))}"


def assert_kind(day: Day, arena: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with one sentence and its exit code, and leaves every file as it was."""
    day.before(monkeypatch)
    before = tree(arena)
    with disk_full_after(day.disk):
        code = called(shlex.split(day.command))
    printed, error = capsys.readouterr()
    assert "Traceback" not in printed + error, printed + error
    assert day.says in error, error
    assert error.startswith("Error: "), error
    assert error.count("\n") == day.lines, error
    assert code == day.code
    after = tree(arena)
    assert after == before | {path: after[path] for path in after.keys() - before.keys() if fnmatch(path, day.leaves)}


def called(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as end:
        assert isinstance(end.code, int)
        return end.code


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
