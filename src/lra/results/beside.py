"""Columns of the table that set a cell at the paper's scale beside the published value and the reference result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lra.config.differences import differences
from lra.results import published
from lra.results.agreement import compatible, other_test_rows, protocol_differences
from lra.results.comparisons import Columns
from lra.results.reading import Run
from lra.results.reference import ReferenceCell
from lra.results.statistics import mean_accuracy

COMPARABLE_SCALE = "paper"
"""The scale whose rows may stand beside published values."""
MOST_NAMED = 3
"""Settings that are named where a reference result has others."""


def set_beside(cell: Sequence[Run], reference: ReferenceCell | None) -> Columns:
    """Published value and reference result of a cell, and whether its runs agree with each.

    Args:
        cell: the runs of an attention on a task at the paper's scale.
        reference: the published runs of the same cell; None where there are none.
    """
    accuracies = [float(run.metrics["test_accuracy"]) for run in cell if run.ok]
    metrics = cell[0].metrics
    columns = _published(metrics, accuracies)
    return columns | (_reference(metrics, accuracies, reference) if reference else {})


def _published(metrics: Mapping[str, Any], accuracies: Sequence[float]) -> Columns:
    task, attention = metrics["task"], metrics["attention"]
    told = published.accuracy(attention, task)
    columns: Columns = {"published_accuracy": told, "published_source": published.source(attention, task)}
    if told is None:
        return columns
    columns["published_differs"] = protocol_differences(metrics) or None
    if accuracies:
        columns["published_difference"] = float(np.mean(accuracies)) - told
        columns["published_compatible"] = compatible(accuracies, told, metrics["test_rows"], other_test_rows(metrics))
    return columns


def _reference(metrics: Mapping[str, Any], accuracies: Sequence[float], reference: ReferenceCell) -> Columns:
    mean = mean_accuracy(reference.correct)
    rows = reference.correct.shape[1]
    columns: Columns = {
        "reference_accuracy": mean.mean,
        "reference_low": mean.low,
        "reference_high": mean.high,
        "reference_seeds": len(reference.correct),
        "reference_test_rows": rows,
        "reference_differs": ", ".join(_named_differences(metrics, reference.metrics)) or None,
    }
    if accuracies:
        same = metrics["data"] == reference.metrics["data"]
        # The side with more runs says how much a run varies.
        sides = [(accuracies, metrics["test_rows"]), (reference.accuracies, rows)]
        (fewer, their_rows), (more, our_rows) = sorted(sides, key=lambda side: len(side[0]))
        columns["reference_compatible"] = compatible(
            more, float(np.mean(fewer)), our_rows, 0 if same else their_rows, len(fewer)
        )
    return columns


def _named_differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    named = [name for name in ("data", "code") if ours[name] != theirs[name]]
    mine, other = (
        {name: value for name, value in side["settings"].items() if name != "seed"} for side in (ours, theirs)
    )
    settings = list(differences(mine, other))
    more = len(settings) - MOST_NAMED
    return named + settings[:MOST_NAMED] + ([f"{more} more settings"] if more > 0 else [])
