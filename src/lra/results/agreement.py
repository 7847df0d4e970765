"""Whether two results of one cell agree, and how a run's protocol differs from the paper's."""

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
"""Assumed number of runs behind each mean of the paper, which states neither a number nor a deviation."""
ROUNDING = 5e-5
"""Largest rounding error of the paper's accuracies, which are given to 0.01 %."""
TOO_FEW = "too few seeds"
SPLIT_AT_RANDOM = ("pathfinder", "pathx")
"""Tasks without an official split: each code base has its own test set."""


def compatible(
    accuracies: Sequence[float], their_mean: float, rows: int, their_rows: int, their_seeds: int = PAPER_SEEDS
) -> str:
    """Whether another mean accuracy lies in the 95 % prediction interval around our mean.

    The interval is ± t s sqrt(1/their_seeds + 1/S), where S is the number of our seeds and s their standard deviation.
    If the two test sets differ, the binomial variance of both is added, and t has Satterthwaite's degrees of freedom.

    Args:
        accuracies: our accuracies, one per seed, between 0 and 1.
        their_mean: the other mean, between 0 and 1.
        rows: number of our test examples.
        their_rows: number of their test examples if these differ from ours, else 0.
        their_seeds: number of runs behind the other mean; these runs are assumed to vary as ours do.

    Returns:
        ``yes``, ``no`` or :data:`TOO_FEW`.
    """
    if len(accuracies) < 2:
        return TOO_FEW
    half = prediction_half_width(accuracies, rows, their_rows, their_seeds)
    return "yes" if abs(their_mean - float(np.mean(accuracies))) <= half + ROUNDING else "no"


def prediction_half_width(accuracies: Sequence[float], rows: int, their_rows: int, their_seeds: int) -> float:
    """Half of the interval of :func:`compatible`, for at least two seeds; the arguments are explained there."""
    seeds, mean = len(accuracies), float(np.mean(accuracies))
    of_seeds = float(np.var(accuracies, ddof=1)) * (1 / their_seeds + 1 / seeds)
    of_rows = mean * (1 - mean) * (1 / rows + 1 / their_rows) if their_rows else 0.0
    variance = of_seeds + of_rows
    freedom = variance**2 / (of_seeds**2 / (seeds - 1)) if of_seeds else math.inf
    return float(stats.t.ppf(1 - ALPHA / 2, freedom)) * math.sqrt(variance)


def published_half_width(mean: float, accuracies: Sequence[float], their_rows: int) -> float:
    """Half of the 95 % interval of a published mean, over test examples and over seeds that vary as ours do.

    Args:
        mean: the published mean, between 0 and 1.
        accuracies: accuracies of our runs; with fewer than two the interval covers test examples only.
        their_rows: number of test examples behind the published mean.
    """
    of_rows = mean * (1 - mean) / their_rows
    seeds = len(accuracies)
    of_seeds = float(np.var(accuracies, ddof=1)) / PAPER_SEEDS if seeds > 1 else 0.0
    variance = of_rows + of_seeds
    freedom = variance**2 / (of_seeds**2 / (seeds - 1)) if of_seeds else math.inf
    return float(stats.t.ppf(1 - ALPHA / 2, freedom)) * math.sqrt(variance)


def other_test_rows(metrics: Mapping[str, Any]) -> int:
    """Number of the paper's test examples if the run has a different test set, else 0.

    Args:
        metrics: metrics of a run on one of the paper's tasks.
    """
    task = metrics["task"]
    theirs = published.test_rows(task)
    official = metrics["data_settings"].get("source") in ARENA_SOURCES and task not in SPLIT_AT_RANDOM
    return 0 if official and metrics["test_rows"] == theirs else theirs


def protocol_differences(metrics: Mapping[str, Any]) -> str:
    """Differences between a run's protocol and the paper's, such as ``test examples, train.steps 4 (20000)``.

    Differences that all runs share, such as the precision, are listed in docs/fidelity.md. Options of the attention
    belong to the row, so they are no differences.

    Args:
        metrics: metrics of a run on one of the paper's tasks.
    """
    return ", ".join(_differences(metrics))


def _differences(metrics: Mapping[str, Any]) -> Iterator[str]:
    data, settings = metrics["data_settings"], metrics["settings"]
    if other_test_rows(metrics):
        yield "test examples"
    if metrics["task"] == "text" and data.get("dev") == "train":
        yield "dev split"
    if settings.get("pretrain"):
        yield "pretrained"
    for name, paper_value in published.protocol(metrics["task"]).items():
        section = next((key for key in ("train", "model", "attention") if name in settings.get(key, {})), None)
        if section and settings[section][name] != paper_value:
            yield f"{section}.{name} {settings[section][name]:g} ({paper_value:g})"
