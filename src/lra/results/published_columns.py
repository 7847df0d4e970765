"""Columns of the table that compare a cell at the paper's scale with the published value and the reference result."""

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

MAX_NAMED_SETTINGS = 3
"""Number of differing settings that ``reference_differs`` names; it counts the rest."""


def published_columns(cell: Sequence[Run], reference: ReferenceCell | None) -> Columns:
    """Published value and reference result of a cell, and whether its runs agree with each.

    Args:
        cell: the runs of an attention on a task at the paper's scale.
        reference: the reference result of the same cell, or None.
    """
    accuracies = [float(run.metrics["test_accuracy"]) for run in cell if run.ok]
    metrics = cell[0].metrics
    columns = _paper_columns(metrics, accuracies)
    return columns | (_reference_columns(metrics, accuracies, reference) if reference else {})


def _paper_columns(metrics: Mapping[str, Any], accuracies: Sequence[float]) -> Columns:
    task, attention = metrics["task"], metrics["attention"]
    accuracy = published.accuracy(attention, task)
    columns: Columns = {"published_accuracy": accuracy, "published_source": published.source(attention, task)}
    if accuracy is None:
        return columns
    columns["published_differs"] = protocol_differences(metrics) or None
    if accuracies:
        columns["published_difference"] = float(np.mean(accuracies)) - accuracy
        columns["published_compatible"] = compatible(
            accuracies, accuracy, metrics["test_rows"], other_test_rows(metrics)
        )
    return columns


def _reference_columns(metrics: Mapping[str, Any], accuracies: Sequence[float], reference: ReferenceCell) -> Columns:
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
        same_data = metrics["data"] == reference.metrics["data"]
        # The side with more runs gives the better estimate of the variance over seeds.
        sides = [(accuracies, metrics["test_rows"]), (reference.accuracies, rows)]
        (fewer, their_rows), (more, our_rows) = sorted(sides, key=lambda side: len(side[0]))
        columns["reference_compatible"] = compatible(
            more, float(np.mean(fewer)), our_rows, 0 if same_data else their_rows, len(fewer)
        )
    return columns


def _named_differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    named = [name for name in ("data", "code") if ours[name] != theirs[name]]
    our_settings, their_settings = (
        {name: value for name, value in side["settings"].items() if name != "seed"} for side in (ours, theirs)
    )
    settings = list(differences(our_settings, their_settings))
    more = len(settings) - MAX_NAMED_SETTINGS
    return named + settings[:MAX_NAMED_SETTINGS] + ([f"{more} more settings"] if more > 0 else [])
