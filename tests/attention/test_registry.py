from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from lra.attention import build, names
from lra.attention.registry import resolve

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


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A package whose entry point of the group has this name."""
    metadata = folder / "package_of_mine-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: package-of-mine\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[lra.attention]\n{name} = package_of_mine:Mine\n")
    monkeypatch.syspath_prepend(str(folder))


def test_an_installed_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "mine")
    assert names()[-1] == "mine" and resolve("mine").path == "package_of_mine:Mine"


@pytest.mark.parametrize("name", ["softmax", "nystromformer", "nystrom"])
def test_an_installed_method_of_a_name_that_is_taken(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was ignored in silence, and the other method compared in its place. Other names keep working."""
    install(tmp_path, monkeypatch, name)
    message = f"{name!r} is a method of lra and also the entry point of an installed package, package_of_mine:Mine"
    with pytest.raises(ValueError, match=message):
        build(name, heads=1, head_dim=1, max_length=1)
    assert build("vmean", heads=1, head_dim=1, max_length=1)


def test_a_file_with_the_name_of_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hides no module of that name, neither from itself nor from others."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    (tmp_path / "random.py").write_text(METHOD.format(helper="random").replace("FLOPS", "randrange"))
    mine = build(f"{tmp_path}/random.py:Mine", heads=1, head_dim=1, max_length=1)
    assert mine.multiply_adds(1) == random.randrange and sys.modules["random"] is random
