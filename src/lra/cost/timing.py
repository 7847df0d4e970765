"""Calls timed in turn, and the ratio of their times with its confidence interval.

A ratio of times measured in turn is similar on another machine; a time is not. A machine that slows down changes both
times of a round, and hardly their ratio.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from lra.cost.probes import milliseconds
from lra.training.optim import is_out_of_memory

TOLERANCE = 0.02
"""Relative error of a ratio at which no further rounds are needed."""
WARM_UP_SECONDS = {"cpu": 0.0, "cuda": 3.0}
"""Time in which a GPU reaches its clock rate; a CPU has warmed up while memory was counted."""
ENOUGH = 5
"""Least number of rounds for a decision by their interval, which may be narrow by chance for fewer."""
T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""97.5 % quantiles of Student's t for 1 to 10 degrees of freedom. Measuring does not require SciPy."""

Rounds = list[tuple[float, ...]]
"""The milliseconds of each call for each round: first the method, then its yardsticks."""


@dataclass(frozen=True)
class Ratio:
    """Geometric mean of the rounds' ratios, and the ends of its 95 % t-interval on the logarithmic axis.

    Fewer than three rounds have none: that of two reaches from almost nothing to millions where a machine was busy.
    """

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def tight(self) -> bool:
        """Whether both ends of the interval are within the tolerance."""
        return self.high is not None and self.high <= self.value * (1 + TOLERANCE)


def ratio(rounds: Rounds, yardstick: int = 1) -> Ratio:
    """The first call's time divided by that of call number ``yardstick``."""
    logs = [math.log(times[0] / times[yardstick]) for times in rounds]
    mean = statistics.fmean(logs)
    if len(logs) < 3:
        return Ratio(math.exp(mean))
    half = t_quantile(len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def t_quantile(freedom: int) -> float:
    """97.5 % quantile of Student's t; beyond ten degrees of freedom by its expansion, with an error below 0.002."""
    if freedom <= len(T_QUANTILES):
        return T_QUANTILES[freedom - 1]
    return 1.95996 + 2.37227 / freedom + 2.82250 / freedom**2


def in_turn(calls: Sequence[Callable[[], float]], *, least: int, seconds: float) -> Rounds:
    """Make every call in turn, round after round.

    Args:
        calls: each returns its own milliseconds.
        least: number of rounds at least.
        seconds: time for more rounds; they end earlier once five or more show every ratio within the tolerance.
    """
    started = time.monotonic()
    rounds: Rounds = []
    while len(rounds) < least or (time.monotonic() - started < seconds and not _known(rounds, len(calls))):
        rounds.append(tuple(call() for call in calls))
    return rounds


def _known(rounds: Rounds, calls: int) -> bool:
    """Whether the rounds show every ratio within the tolerance."""
    return len(rounds) >= ENOUGH and all(ratio(rounds, yardstick).tight for yardstick in range(1, calls))


def warm_up(calls: Sequence[Callable[[], object]], device: torch.device) -> None:
    """Make the calls in turn until the device is warm."""
    started = time.monotonic()
    while time.monotonic() - started < WARM_UP_SECONDS[device.type]:
        for call in calls:
            milliseconds(call, device)  # waits for the GPU


def largest_that_runs(run: Callable[[int], object], batch: int) -> int:
    """The largest of ``batch``, half of it, a quarter and so on for which ``run`` does not run out of memory.

    Raises:
        Exception: ``run`` failed for another reason, or for a batch of one.
    """
    while True:
        try:
            run(batch)
            return batch
        except Exception as problem:
            if batch == 1 or not is_out_of_memory(problem):
                raise
        # Only after the `except` clause, because the exception holds the tensors of the failed pass.
        release_memory()
        batch //= 2


def release_memory() -> None:
    """Free the memory that the allocator of a GPU keeps for later; without a GPU do nothing."""
    torch.cuda.empty_cache()
