"""How a command ends: an exit code, and at most one sentence."""

from __future__ import annotations

import os
import sys

import pytest

from lra.cli.console import run_command
from lra.errors import LraError


def ends(problem: BaseException) -> int:
    """The exit code of work that fails in this way."""

    def work() -> None:
        raise problem

    return run_command(work)


@pytest.mark.parametrize(
    ("problem", "sentence"),
    [
        (LraError("make `batch` smaller."), "make `batch` smaller."),
        (MemoryError(), "there is not enough memory; free some, or make the task smaller."),
        (OSError(28, "No space left", "x.csv"), "x.csv: No space left; correct that and run the same command again."),
        (OSError("it is gone"), "it is gone; correct that and run the same command again."),
        (ModuleNotFoundError(name="scipy.stats"), "this needs scipy; install what requirements-dev.txt lists."),
        (
            RuntimeError("CUDA error: unspecified launch failure\nmore"),
            "the GPU failed (CUDA error: unspecified launch failure): run the same command again, on another GPU "
            "(CUDA_VISIBLE_DEVICES) if that repeats.",
        ),
    ],
)
def test_a_failure_is_one_sentence(problem: Exception, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(problem) == 1
    assert capsys.readouterr() == ("", f"Error: {sentence}\n")


def test_the_keyboard_ends_it_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(KeyboardInterrupt()) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["lra.nowhere", None])
def test_a_missing_part_of_the_package_itself_is_no_mistake_of_the_user(name: str | None) -> None:
    with pytest.raises(ModuleNotFoundError):
        ends(ModuleNotFoundError(name=name))


def test_a_mistake_of_this_package_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        ends(RuntimeError("shapes do not match"))


def test_a_reader_that_has_had_enough(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor does Python complain when it flushes standard output at its end."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert run_command(lambda: print("a line")) == 1
        stream.flush()
    assert capsys.readouterr().err == ""
