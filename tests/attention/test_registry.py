from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lra.attention import build

METHOD = """
import {helper}

from lra.attention.vmean import VMean


class Mine(VMean):
    def multiply_adds(self, length):
        from {helper} import FLOPS
        return FLOPS
"""


def test_a_file_may_import_what_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "mine.py").write_text(METHOD.format(helper="helper_of_mine"))
    (tmp_path / "methods" / "helper_of_mine.py").write_text("FLOPS = 12")
    monkeypatch.chdir(tmp_path)
    mine = build("methods/mine.py:Mine", heads=1, head_dim=1, max_length=1)
    monkeypatch.chdir("/")
    assert mine.multiply_adds(1) == 12


def test_what_is_installed_goes_before_what_lies_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    (tmp_path / "mine.py").write_text(METHOD.format(helper="colorsys"))
    (tmp_path / "colorsys.py").write_text("raise AssertionError")
    build(f"{tmp_path}/mine.py:Mine", heads=1, head_dim=1, max_length=1)
