"""Calls are timed in turn until their ratio is known, and no longer than that or than the time there is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from scipy import stats

from lra.cost import timing
from lra.cost.timing import in_turn, largest_that_runs, ratio, t_quantile, warm_up

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A clock on which every look takes a second."""
    ticks = itertools.count()
    monkeypatch.setattr(timing.time, "monotonic", lambda: float(next(ticks)))
    yield


@pytest.mark.parametrize("freedom", [1, 2, 5, 10, 11, 20, 100])
def test_quantiles_of_students_t(freedom: int) -> None:
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=0.003)


def test_a_ratio_and_its_interval_are_those_of_the_logarithms() -> None:
    rounds = [(2.0, 1.0), (4.4, 2.0), (9.0, 5.0)]
    logs = [math.log(ours / exact) for ours, exact in rounds]
    low, high = stats.t.interval(0.95, 2, loc=stats.tmean(logs), scale=stats.sem(logs))
    found = ratio(rounds)
    assert found.value == pytest.approx(math.exp(stats.tmean(logs)))
    assert (found.low, found.high) == pytest.approx((math.exp(low), math.exp(high)), rel=1e-3)


def test_a_machine_that_slows_down_changes_no_ratio() -> None:
    """Were the medians divided, 6 / 10 would come out."""
    found = ratio([(3.0, 10.0), (6.0, 20.0), (30.0, 100.0)])
    assert (found.value, found.low, found.high) == pytest.approx((0.3, 0.3, 0.3))


@pytest.mark.parametrize("rounds", [1, 2])
def test_one_or_two_rounds_have_no_interval(rounds: int) -> None:
    found = ratio([(3.0, 2.0)] * rounds)
    assert (found.value, found.low, found.high) == (pytest.approx(1.5), None, None)
    assert not found.tight


def test_calls_take_turns() -> None:
    order: list[str] = []
    calls = [lambda name=name: float(len(order.append(name) or order)) for name in "ab"]
    assert in_turn(calls, least=2, seconds=0) == [(1, 2), (3, 4)]
    assert order == ["a", "b", "a", "b"]


def test_rounds_end_once_the_ratio_is_known(clock: None) -> None:
    """A clear ratio takes five rounds, or those that are wanted in any case, though there would be time for more."""
    assert len(in_turn([lambda: 2.0, lambda: 1.0], least=3, seconds=1000)) == 5
    assert len(in_turn([lambda: 2.0, lambda: 1.0], least=7, seconds=1000)) == 7


def test_rounds_go_on_until_every_ratio_is_known(clock: None) -> None:
    """The first yardstick is clear at once, the second after many rounds."""
    noise = itertools.cycle([1.0, 1.1])
    rounds = in_turn([lambda: 2.0, lambda: 1.0, lambda: next(noise)], least=3, seconds=1000)
    assert 5 < len(rounds) < 200
    assert ratio(rounds, 2).tight and not ratio(rounds[:-1], 2).tight


def test_rounds_end_when_the_time_is_up(clock: None) -> None:
    noise = itertools.cycle([1.0, 9.0])
    assert len(in_turn([lambda: 2.0, lambda: next(noise)], least=3, seconds=10)) == 12


def test_a_gpu_warms_up_for_three_seconds_and_a_cpu_does_not(clock: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU has its memory counted first; one more step of exact attention would take seconds there."""
    calls: list[str] = []
    both = [lambda: calls.append("ours"), lambda: calls.append("exact")]
    warm_up(both, CPU)
    assert calls == []
    monkeypatch.setitem(timing.WARM_UP_SECONDS, "cpu", timing.WARM_UP_SECONDS["cuda"])
    monkeypatch.setattr(timing, "milliseconds", lambda call, device: call())
    warm_up(both, CPU)
    assert calls == ["ours", "exact"] * 2


def test_the_largest_batch_is_found_by_trying() -> None:
    tried: list[int] = []

    def run(batch: int) -> None:
        tried.append(batch)
        if batch > 70:
            raise torch.OutOfMemoryError("too much")

    assert largest_that_runs(run, 256) == 64
    assert tried == [256, 128, 64]


@pytest.mark.parametrize(("problem", "batch"), [(IndexError("x"), 8), (torch.OutOfMemoryError("x"), 1)])
def test_other_failures_and_a_single_example_that_does_not_fit_are_told(problem: Exception, batch: int) -> None:
    def run(batch: int) -> None:
        raise problem

    with pytest.raises(type(problem)):
        largest_that_runs(run, batch)
