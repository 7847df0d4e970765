"""Compare methods at equal compute: the best dev accuracy of each when exact attention reaches its own best.

Compute is the number of training steps times the cost of one step, which is measured alone on the machine at the task's
full length. Evaluations are left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lra.errors import LraError
from lra.results.published import task_title, title
from lra.results.reading import Run
from lra.results.rendering import NO_VALUE, Column, Entry, Sheet, View
from lra.results.rows import YARDSTICK
from lra.sealing import read_measure

Quantity = Literal["flops", "seconds"]
QUANTITIES: Mapping[Quantity, str] = {"flops": "FLOPs", "seconds": "seconds"}
FORWARD_PASSES_PER_STEP = 3
"""FLOPs of a training step in forward passes: the backward pass has two matrix products for each forward one."""


@dataclass(frozen=True)
class StepCost:
    """Cost of one example in a training step (FLOPs, seconds), and the size at which it was measured."""

    flops: float
    seconds: float
    size: str


def best_so_far(histories: Sequence[Sequence[dict[str, float]]]) -> tuple[list[float], list[float]]:
    """Steps at which every seed was evaluated, and the best dev accuracy up to each step, averaged over seeds."""
    by_step = []
    for history in histories:
        best = itertools.accumulate((row["dev_accuracy"] for row in history), max)
        by_step.append(dict(zip([row["step"] for row in history], best, strict=True)))
    shared = [step for step in by_step[0] if all(step in rows for rows in by_step)]
    return shared, [float(np.mean([rows[step] for rows in by_step])) for step in shared]


def read_costs(paths: Sequence[Path]) -> dict[tuple[str, str], StepCost]:
    """Read the cost of an example in a training step, by task and attention; failed measurements are left out.

    Raises:
        LraError: a file is no measurement.
    """
    costs = {}
    for path in paths:
        measure = read_measure(path)
        try:
            if measure["status"] == "ok":
                costs[measure["task"], measure["attention"]] = StepCost(
                    FORWARD_PASSES_PER_STEP * float(measure["flops_forward"]),
                    float(measure["seconds_per_1000_steps"]) / 1000 / measure["paper_batch"],
                    f"n = {measure['length']}, d = {measure['settings']['attention']['features']}",
                )
        except (KeyError, TypeError, ValueError) as problem:
            raise LraError(f"{path} is not a measurement ({problem}); measure this cell again.") from problem
    return costs


def measured_cells(runs: Sequence[Run], costs: Mapping[tuple[str, str], StepCost]) -> dict[tuple[str, str], list[Run]]:
    """The finished runs of each measured cell, by task and attention."""
    cells: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.ok and (run.task, run.attention) in costs:
            cells.setdefault((run.task, run.attention), []).append(run)
    return cells


def equal_compute(runs: Sequence[Run], measures: Sequence[Path]) -> Sheet | None:
    """The table of dev accuracies at equal compute; None if exact attention was not trained or not measured.

    Args:
        runs: all runs.
        measures: ``measure.json`` of each measured cell.
    """
    costs = read_costs(measures)
    cells = measured_cells(runs, costs)
    tasks = [task for task in dict.fromkeys(run.task for run in runs) if (task, YARDSTICK) in cells]
    names = tuple(dict.fromkeys(run.attention for run in runs))
    views = [_view(against, label, tasks, names, cells, costs) for against, label in QUANTITIES.items()]
    caption = (
        "FLOPs and seconds of a step are measured at the task's full length, which can differ from that of the runs. "
        "Evaluations are left out."
    )
    return Sheet("equal compute", caption, names, tuple(views)) if views[0].columns else None


def _view(
    against: Quantity,
    label: str,
    tasks: Sequence[str],
    names: Sequence[str],
    cells: Mapping[tuple[str, str], Sequence[Run]],
    costs: Mapping[tuple[str, str], StepCost],
) -> View:
    columns, entries = [], []
    for task in tasks:
        curves = {name: curve(cells[task, name], costs[task, name], against) for name in names if (task, name) in cells}
        spent, best = curves[YARDSTICK]
        if spent:
            budget = spent[int(np.argmax(best))]
            columns.append(Column(f"{task}_{against}", task_title(task), f"{budget:.2g} {label}"))
            entries.append([_reached(curves.get(name), budget) for name in names])
    caption = (
        f"Best dev accuracy in per cent, mean over seeds, within the training {label} that {title(YARDSTICK)} needs to "
        f"reach its own best (given below the task). {NO_VALUE}: no evaluation within that budget, or not measured."
    )
    return View(f"At equal {label}", caption, tuple(columns), tuple(zip(*entries, strict=True)))


def curve(cell: Sequence[Run], cost: StepCost, against: Quantity) -> tuple[list[float], list[float]]:
    """Cost of training up to each evaluation, and the best dev accuracy up to it, averaged over seeds."""
    examples = cell[0].metrics["settings"]["train"]["batch"]
    steps, best = best_so_far([run.history() for run in cell])
    return [step * examples * float(getattr(cost, against)) for step in steps], best


def _reached(curve: tuple[list[float], list[float]] | None, budget: float) -> Entry:
    within = [best for spent, best in zip(*curve, strict=True) if spent <= budget] if curve else []
    return Entry(f"{100 * within[-1]:.2f}", round(100 * within[-1], 2)) if within else Entry(NO_VALUE)
