"""``lra check`` of attentions; that of tasks is tested beside them, ``lra predict`` where runs are loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from lra.attention.checking import CHECKS
from lra.cli import main

METHOD = """
from lra.attention.vmean import VMean


class Mine(VMean):
    def __init__(self, *, how="", **common):
        super().__init__(**common)
        self.how = how

    def attend(self, query, key, value, mask, draws):
        if self.how == "crash":
            raise IndexError("out of range")
        return value.mean(2, keepdim=True).expand_as(value) if self.how == "padding" else value


class Other:
    pass
"""


@pytest.fixture
def method(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(METHOD)
    return f"{path}:Mine"


def test_a_line_a_check(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", method]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CHECKS)
    assert all(line.startswith("ok     ") for line in lines)


def test_what_fails_is_said(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", method, "--options", '{"how": "padding"}']) == 1
    printed = capsys.readouterr().out
    assert printed.count("FAILS") == 1
    assert "FAILS  A sequence's output does not depend on how much padding follows it" in printed
    assert "But off by" in printed
    assert main(["check", method, "--options", '{"how": "crash"}']) == 1
    assert "But it raised IndexError: out of range." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("attention", "options", "sentence"),
    [
        ("vmeen", "{}", "unknown attention 'vmeen'; did you mean 'vmean'?"),
        ("nowhere.py:Mine", "{}", "nowhere.py cannot be imported: FileNotFoundError"),
        ("mine.py:Mien", "{}", "mine.py defines no class 'Mien'"),
        ("mine.py:Other", "{}", "Other of mine.py is no subclass of lra.attention.Attention"),
        ("vmean", '{"droput": 1}', "unexpected keyword argument 'droput'"),
    ],
)
def test_a_mistake_is_one_sentence(
    method: str,
    attention: str,
    options: str,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(Path(method).parent)
    assert main(["check", attention, "--options", options]) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert error.startswith("Error: ") and error.count("\n") == 1
