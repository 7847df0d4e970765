from __future__ import annotations

import os
from pathlib import Path

import pytest

from lra.training.checkpoint import Checkpoints


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "run", "mine")
    assert checkpoints.load() is None
    for step in (1, 2, 3):
        checkpoints.save({"step": step})
    assert checkpoints.load() == {"step": 3}
    checkpoints.latest.unlink()
    assert checkpoints.load() == {"step": 2}
    checkpoints.remove()
    assert checkpoints.load() is None and list(tmp_path.iterdir()) == []


def test_a_damaged_one_gives_way_to_the_previous_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints = Checkpoints(tmp_path, "mine")
    checkpoints.save({"step": 1})
    checkpoints.save({"step": 2})
    checkpoints.latest.write_bytes(checkpoints.latest.read_bytes()[:-100])
    assert checkpoints.load() == {"step": 1}
    checkpoints.previous.write_bytes(b"")
    assert checkpoints.load() is None
    told = capsys.readouterr().err
    assert "latest.pt is damaged" in told and "previous.pt is damaged" in told


def test_a_checkpoint_of_other_settings_is_left_aside(tmp_path: Path) -> None:
    Checkpoints(tmp_path, "one").save({"step": 1})
    assert Checkpoints(tmp_path, "two").load() is None
    assert Checkpoints(tmp_path, "one").load() == {"step": 1}


def test_a_full_disk_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = Checkpoints(tmp_path, "run")
    checkpoints.save({"step": 1})

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    checkpoints.save({"step": 2})
    assert checkpoints.load() == {"step": 1}
    assert "No space left" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["latest.pt"]
