"""Whether two results of one cell agree, and what differs between a run's protocol and the paper's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from lra.results import published
from lra.results.basis import ARENA_SOURCES
from lra.results.statistics import ALPHA

PAPER_SEEDS = 3
"""Runs that the paper's interval is reckoned with; it names no number and no deviation."""
ROUNDING = 5e-5
"""The paper's accuracies have two digits of a per cent."""
TOO_FEW = "too few seeds"
SPLIT_AT_RANDOM = ("pathfinder", "pathx")
"""Tasks without an official split: no two code bases share a test set."""


def compatible(
    accuracies: Sequence[float], told: float, rows: int, their_rows: int, their_seeds: int = PAPER_SEEDS
) -> str:
    """Whether another mean accuracy lies in the 95 % prediction interval around ours: ``yes``, ``no``, too few seeds.

    The interval is t s sqrt(1/their_seeds + 1/S) for S seeds of the standard deviation s. Where the test examples are
    others, the binomial variance of both test sets is added, and t has Satterthwaite's degrees of freedom.

    Args:
        accuracies: ours, one a seed, between 0 and 1.
        told: the other mean.
        rows: our test examples.
        their_rows: the other's test examples where they are others than ours, else 0.
        their_seeds: runs that the other is a mean of, which are taken to vary as ours do.
    """
    if len(accuracies) < 2:
        return TOO_FEW
    half = prediction_half_width(accuracies, rows, their_rows, their_seeds)
    return "yes" if abs(told - float(np.mean(accuracies))) <= half + ROUNDING else "no"


def prediction_half_width(accuracies: Sequence[float], rows: int, their_rows: int, their_seeds: int) -> float:
    """Half of the interval of :func:`compatible`, which explains the arguments; two seeds at least."""
    seeds, mean = len(accuracies), float(np.mean(accuracies))
    of_seeds = float(np.var(accuracies, ddof=1)) * (1 / their_seeds + 1 / seeds)
    of_rows = mean * (1 - mean) * (1 / rows + 1 / their_rows) if their_rows else 0.0
    variance = of_seeds + of_rows
    freedom = variance**2 / (of_seeds**2 / (seeds - 1)) if of_seeds else math.inf
    return float(stats.t.ppf(1 - ALPHA / 2, freedom)) * math.sqrt(variance)


def published_half_width(told: float, accuracies: Sequence[float], their_rows: int) -> float:
    """Half of the 95 % interval of a published mean: of its test examples, and of seeds that vary as ours do.

    Args:
        told: the mean, between 0 and 1.
        accuracies: of our runs; fewer than two say nothing about seeds.
        their_rows: its test examples.
    """
    of_rows = told * (1 - told) / their_rows
    seeds = len(accuracies)
    of_seeds = float(np.var(accuracies, ddof=1)) / PAPER_SEEDS if seeds > 1 else 0.0
    variance = of_rows + of_seeds
    freedom = variance**2 / (of_seeds**2 / (seeds - 1)) if of_seeds else math.inf
    return float(stats.t.ppf(1 - ALPHA / 2, freedom)) * math.sqrt(variance)


def other_test_rows(metrics: Mapping[str, Any]) -> int:
    """The paper's test examples where a run's are others; 0 where they are the same.

    Args:
        metrics: of a run of one of the paper's tasks.
    """
    task = metrics["task"]
    theirs = published.test_rows(task)
    official = metrics["data_settings"].get("source") in ARENA_SOURCES and task not in SPLIT_AT_RANDOM
    return 0 if official and metrics["test_rows"] == theirs else theirs


def protocol_differences(metrics: Mapping[str, Any]) -> str:
    """What of a run's protocol is not the paper's, such as ``test examples, train.steps 4 (20000)``.

    docs/fidelity.md has what differs throughout, such as the precision; the method's own options are its row's.

    Args:
        metrics: of a run of one of the paper's tasks.
    """
    return ", ".join(_differences(metrics))


def _differences(metrics: Mapping[str, Any]) -> Iterator[str]:
    data, settings = metrics["data_settings"], metrics["settings"]
    if other_test_rows(metrics):
        yield "test examples"
    if metrics["task"] == "text" and data.get("dev") == "train":
        yield "dev split"
    for name, wanted in published.protocol(metrics["task"]).items():
        room = next((room for room in ("train", "model", "attention") if name in settings.get(room, {})), None)
        if room and settings[room][name] != wanted:
            yield f"{room}.{name} {settings[room][name]:g} ({wanted:g})"
