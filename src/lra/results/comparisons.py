"""Columns of the table that compare the attentions of a task, with the tests of :mod:`lra.results.statistics`.

An attention with fewer than three finished runs gets no verdict: it is never called better, worse or best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lra.errors import LraError
from lra.results.reading import Run
from lra.results.rows import BASELINE, TableRow, tasks
from lra.results.statistics import (
    ALPHA,
    ENOUGH_SEEDS,
    Correct,
    among_best,
    compare,
    compare_with_constant,
    holm,
    mean_accuracy,
    pool,
    verdict,
)

Columns = dict[str, Any]
"""Part of a row: values by column name."""


def compare_attentions(cells: Mapping[str, Sequence[Run]]) -> dict[str, Columns]:
    """Intervals and comparisons of a task's attentions, by attention; p-values are not adjusted yet.

    Args:
        cells: runs of each attention.
    """
    labels, answers = _answers(cells)
    if labels is None:
        return {}
    majority = labels == np.bincount(labels).argmax()
    pooled = pool(answers.values())
    enough = {name: correct for name, correct in answers.items() if len(correct) >= ENOUGH_SEEDS}
    columns: dict[str, Columns] = {}
    for name, correct in answers.items():
        interval = mean_accuracy(correct, pooled)
        columns[name] = {"accuracy_low": interval.low, "accuracy_high": interval.high}
        if BASELINE in answers and name != BASELINE:
            test = compare(correct, answers[BASELINE], pooled)
            columns[name] |= {"difference": test.mean, "difference_low": test.low, "difference_high": test.high}
            columns[name] |= {"noise": test.noise}
            if name in enough and BASELINE in enough:
                columns[name]["adjusted_p"] = test.p
    tests = {name: compare_with_constant(correct, majority, pooled) for name, correct in enough.items()}
    for (name, test), p in zip(tests.items(), holm([test.p for test in tests.values()]), strict=True):
        columns[name]["versus_majority"] = verdict(test.mean, p)
    if len(enough) > 1:
        best = among_best(enough, pooled)
        for name in enough:
            columns[name]["among_best"] = "yes" if name in best else "no"
    return columns


def _answers(cells: Mapping[str, Sequence[Run]]) -> tuple[npt.NDArray[np.uint8] | None, dict[str, Correct]]:
    """The task's labels (examples,), and per attention whether each answer is correct (seeds, examples)."""
    labels = None
    answers: dict[str, Correct] = {}
    for attention, cell in cells.items():
        correct = []
        for run in cell:
            if run.ok:
                label, prediction = run.predictions()
                if labels is not None and not np.array_equal(label, labels):
                    raise LraError(f"{run.folder}/predictions.parquet has other labels than the task's other runs.")
                labels = label
                correct.append(label == prediction)
        if correct:
            answers[attention] = np.stack(correct)
    return labels, answers


def adjust(rows: Sequence[TableRow]) -> list[TableRow]:
    """Adjust the rows' p-values by Holm's method, over the attentions of each task and over those of all tasks."""
    across_tasks = _adjusted(rows)
    within_task: dict[tuple[str, str], float] = {}
    for task in tasks(rows):
        within_task |= _adjusted([row for row in rows if row.task == task])
    adjusted = []
    for row in rows:
        cell = row.task, row.attention
        if cell in across_tasks and row.difference is not None:
            row = replace(
                row,
                adjusted_p=within_task[cell],
                adjusted_p_all_tasks=across_tasks[cell],
                versus_softmax=verdict(row.difference, within_task[cell]),
            )
        adjusted.append(row)
    return adjusted


def _adjusted(family: Sequence[TableRow]) -> dict[tuple[str, str], float]:
    """Adjusted p-values of the rows that have a p-value, by task and attention."""
    p_values = {(row.task, row.attention): row.adjusted_p for row in family if row.adjusted_p is not None}
    return dict(zip(p_values, holm(list(p_values.values())), strict=True))


def holds_over_all_tasks(row: TableRow) -> bool:
    """Whether the row's verdict against softmax still holds when p-values are adjusted over all tasks."""
    return row.adjusted_p_all_tasks is not None and row.adjusted_p_all_tasks < ALPHA
