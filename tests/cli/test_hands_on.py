"""``lra check`` of attentions; that of tasks is tested beside them, ``lra predict`` where runs are loaded."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.workflow.arena import configuration

from lra.attention.checking import CHECKS
from lra.cli.hands_on import read_picture
from lra.cli.main import main
from lra.errors import LraError

METHOD = """
import torch
from lra.attention.vmean import VMean


class Mine(VMean):
    def __init__(self, *, how="", **common):
        super().__init__(**common)
        self.how = how

    def attend(self, query, key, value, mask, draws):
        if self.how == "crash":
            raise IndexError("out of range")
        if self.how == "in place":
            query *= 0.5
        if self.how == "split":
            return value.split(2)
        if self.how == "random":
            return torch.rand_like(value)
        if self.how == "no number":
            return value / 0 * 0
        if self.how == "float32 only" and value.dtype != torch.float32:
            raise TypeError("only float32")
        return value.mean(2, keepdim=True).expand_as(value) if self.how == "padding" else value


class Uncounted(Mine):
    def multiply_adds(self, length):
        pass


class Small(VMean):
    def __init__(self, how=""):
        super().__init__()


class Sizes(VMean):
    def __init__(self, heads, head_dim, max_length):
        super().__init__(heads=heads, head_dim=head_dim, max_length=max_length)


class TooEarly(VMean):
    def __init__(self, **common):
        self.positions = range(self.max_length)


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
    assert "But it is off by" in printed and "keys that the mask leaves out must not count." in printed


@pytest.mark.parametrize(
    ("how", "failure", "lines"),
    [
        ("crash", "at length 1 it raised IndexError: out of range (mine.py, line 13)", 2),
        ("split", "it is a tuple, not a tensor", 2),
        ("in place", "it changes query in place; write `x = x * 2`, not `x *= 2`", 3),
    ],
)
def test_what_gives_no_output_is_not_checked_further(
    how: str, failure: str, lines: int, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", method, "--options", json.dumps({"how": how})]) == 1
    printed = capsys.readouterr().out
    assert printed.count("\n") == lines
    assert f"       But {failure}; further checks come after this one." in printed


def test_a_later_check_that_breaks_does_not_end_the_others(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", method, "--options", '{"how": "float32 only"}']) == 1
    printed = capsys.readouterr().out
    assert printed.count("FAILS") == 1 and printed.count("ok     ") == len(CHECKS) - 1
    assert "FAILS  It works in bfloat16" in printed
    assert "But it raised TypeError: only float32 (mine.py, line 23)." in printed


def test_random_choices_outside_draw(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", method, "--options", '{"how": "random"}']) == 1
    assert "But two evaluations of the same input differ; make random choices in `draw`" in capsys.readouterr().out


def test_what_is_no_number_is_the_same_in_two_evaluations(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", method, "--options", '{"how": "no number"}']) == 1
    printed = capsys.readouterr().out
    assert "But the output is not at length 1, mask 'full'." in printed
    assert "But it is off by nan" in printed and "But the output is not finite" in printed
    assert "two evaluations" not in printed and "the outputs differ" not in printed


def test_a_cost_that_is_no_number(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", method.replace("Mine", "Uncounted")]) == 1
    assert "But multiply_adds(2048) is None, not a whole number above 0." in capsys.readouterr().out


def test_names_in_config(method: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An attention of config.yaml is checked with its options there."""
    monkeypatch.chdir(Path(method).parent)
    config = configuration()
    # By its whole path: a process that has loaded another folder's mine.py keeps that.
    config["attentions"].append({"mine": {"module": method, "options": {"how": "padding"}}})
    Path("config.yaml").write_text(yaml.safe_dump(config))
    assert main(["check", "mine"]) == 1
    assert "how much padding follows it" in capsys.readouterr().out.partition("FAILS")[2]
    assert main(["check", "mine", "--options", '{"how": ""}']) == 0
    capsys.readouterr()
    assert main(["check", "min"]) == 1
    assert "unknown attention or task 'min'. Did you mean 'mine'?" in capsys.readouterr().err
    assert main(["check", "listops"]) == 1
    assert "listops is one of the Arena's tasks" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("attention", "options", "sentence"),
    [
        ("vmeen", "{}", "unknown attention or task 'vmeen'. Did you mean 'vmean'?"),
        ("nowhere.py:Mine", "{}", "nowhere.py cannot be imported: FileNotFoundError"),
        ("mine.py", "{}", "mine.py is a file; add the name of its class, as mine.py:CLASS."),
        ("mine.py:Small", "{}", "its __init__ must take **common and begin with super().__init__(**common)"),
        ("mine.py:Sizes", "{}", "its __init__ must take **common and begin with super().__init__(**common)"),
        ("mine.py:TooEarly", "{}", "its __init__ must take **common and begin with super().__init__(**common)"),
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


def test_without_pillow_an_array_can_still_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    np.save(tmp_path / "a.npy", pixels)
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert (read_picture(tmp_path / "a.npy") == pixels).all()
    with pytest.raises(LraError, match=r"reading .*a.png needs Pillow; install it, or give a .npy file"):
        read_picture(tmp_path / "a.png")
