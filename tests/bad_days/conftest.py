"""A finished arena, and a copy of it for each day."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.bad_days.mishaps import RUN, TRAIN, write_config
from tests.workflow.arena import configuration

from lra.cli.main import main


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An arena with data, a run and a table."""
    folder = tmp_path_factory.mktemp("arena")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_config(configuration(tasks=["listops", "image"], sources={"vader": [{"path": "mine.txt"}]}))
        Path("mine.txt").write_text("once upon a time")
        assert main(["prepare", "listops", "--workers", "1"]) == 0
        assert main([*TRAIN.split(), "--out", str(RUN), "--threads", "1"]) == 0
        assert main(["collect"]) == 0
    return folder


@pytest.fixture
def arena(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "arena"
    shutil.copytree(finished, folder)
    monkeypatch.chdir(folder)
    return folder
