"""Processes that prepare together and measure in turn, as threads: a file lock keeps their open files apart too."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from gpu_parts import turns
from gpu_parts.turns import Turns

Event = tuple[str, int, int]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "POLL_SECONDS", 0.005)


def test_all_prepare_before_one_measures(tmp_path: Path) -> None:
    """Nothing happens beside a measurement; a process with fewer methods keeps nobody waiting."""
    events: list[tuple[str, str, int, int]] = []

    def process(place: int, rounds: int) -> None:
        mine = Turns(tmp_path, place, 3, time.time() + 60)
        for number in range(rounds):

            def note(what: str, seconds: float, number: int = number) -> None:
                events.append(("start", what, place, number))
                time.sleep(seconds)
                events.append(("end", what, place, number))

            def prepare(note: Any = note) -> Callable[[], dict[str, Any]]:
                note("prepare", 0.03 * place)
                return lambda: note("measure", 0.02) or {"place": place}

            assert mine.take(prepare) == {"place": place, "quiet": True}
        mine.end()

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(process, (0, 1, 2), (2, 2, 1)))
    for number, places in ((0, 3), (1, 2)):
        here = [at for at, event in enumerate(events) if event[3] == number]
        assert here == list(range(here[0], here[-1] + 1))  # the rounds do not mix
        mine = [events[at] for at in here]
        assert all(event[1] == "prepare" for event in mine[: 2 * places])
        measured = mine[2 * places :]
        assert [event[0] for event in measured] == ["start", "end"] * places
        assert all(one[2] == other[2] for one, other in zip(measured[::2], measured[1::2], strict=True))


def test_an_error_keeps_nobody_waiting(tmp_path: Path) -> None:
    def failing() -> Callable[[], dict[str, Any]]:
        raise ValueError("no such method")

    def process(place: int) -> float:
        started, mine = time.time(), Turns(tmp_path, place, 2, time.time() + 60)
        if place == 0:
            with pytest.raises(ValueError, match="no such method"):
                mine.take(failing)
        assert mine.take(lambda: dict) == {"quiet": True}
        mine.end()
        return time.time() - started

    with ThreadPoolExecutor(2) as threads:
        assert max(threads.map(process, (0, 1))) < 5


def test_patience_ends(tmp_path: Path) -> None:
    """A process waits for a share of the time that is left, and says that it was not alone."""
    started = time.time()
    assert Turns(tmp_path, 0, 2, started + 0.5).take(lambda: dict) == {"quiet": False}
    assert 0.25 < time.time() - started < 2
