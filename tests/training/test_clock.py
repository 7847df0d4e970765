from __future__ import annotations

import time

import pytest
import torch

from lra.training.clock import PARTS, Clock, busy

CPU = torch.device("cpu")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which passes only when a test says so."""
    passed = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: passed[0])
    return passed


def test_each_part_gets_its_time(now: list[float]) -> None:
    clock = Clock(CPU, dict.fromkeys(PARTS, 0.0))
    clock.start()
    for part, seconds in (("data", 1.0), ("train", 5.0), ("evaluation", 100.0), ("train", 2.0)):
        with clock.time(part):
            now[0] += seconds
    now[0] += 2  # a checkpoint
    clock.read()
    clock.read()
    assert clock.times == {"train": 7, "compile": 0, "data": 1, "evaluation": 100, "loop": 10}
    assert busy(clock.times) == 0.7


def test_compiling_is_told_apart_wherever_it_happens(now: list[float]) -> None:
    """Its seconds were counted as training."""
    clock = Clock(CPU, dict.fromkeys(PARTS, 0.0))
    clock.start()
    with clock.time("train"):
        now[0] += 1
        clock._compiling_starts(None)
        now[0] += 20
        clock._compiling_ends(None)
        now[0] += 2
        with clock.time("compile"):  # once more, for fewer rows
            now[0] += 4
            clock._compiling_starts(None)
            now[0] += 30
            clock._compiling_ends(None)
    clock._compiling_ends(None)  # of what began before this clock listened
    clock.read()
    assert clock.times == {"train": 3, "compile": 54, "data": 0, "evaluation": 0, "loop": 3}


def test_what_breaks_counts_nothing(now: list[float]) -> None:
    clock = Clock(CPU, dict.fromkeys(PARTS, 0.0))
    with pytest.raises(KeyError), clock.time("train"):
        now[0] += 5
        raise KeyError
    assert clock.times["train"] == 0 and busy(clock.times) is None
