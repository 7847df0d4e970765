"""What is shown while a file is read or downloaded."""

from __future__ import annotations

import logging
import sys

import pytest

from lra.data import progress


def test_progress_on_a_terminal_is_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress.progress("archive", 2**20, 2**19) as advance:
        advance(2**19)
    shown = capsys.readouterr().err
    assert "archive" in shown
    assert "1.00M/1.00M" in shown


def test_progress_elsewhere_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seconds = iter([0.0, 1.0, 31.0, 32.0, 70.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    with caplog.at_level(logging.INFO), progress.progress("archive", 4 * 2**30, 2**30) as advance:
        for _ in range(4):
            advance(2**29)
    assert caplog.messages == [
        "archive: 2.0 GiB of 4.0 GiB, 33.0 MiB/s",
        "archive: 3.0 GiB of 4.0 GiB, 29.3 MiB/s",
    ]


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (1.5 * 2**20, "1.5 MiB"),
        (7.7 * 2**30, "7.7 GiB"),
        (2**50, "1024.0 TiB"),
    ],
)
def test_sizes_for_people(size: float, words: str) -> None:
    assert progress.readable(size) == words
