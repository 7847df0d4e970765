"""Best dev accuracy so far against what training has cost until then: FLOPs, or seconds alone on the machine.

The cost of a step is measured, at the task's full length, and its evaluations are left out; the axis says which length
and features the cost belongs to. A vertical line marks where exact attention reached its best.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lra.errors import LraError
from lra.results.basis import runs_basis
from lra.results.plots.style import footnote, label_x, legend, look, panels, save, styles
from lra.results.published import title
from lra.results.reading import Run, read_runs
from lra.results.rows import YARDSTICK
from lra.sealing import read_measure

LABELS = {"flops": "training FLOPs", "seconds": "training time alone on the machine [s]"}
BACKWARD_TOO = 3
"""Forward passes that a training step costs: the backward pass has two matrix products for each of the forward's."""
EXACT: dict[str, Any] = {"color": "#909090", "linewidth": 0.8, "linestyle": ":", "zorder": 1}


@dataclass(frozen=True)
class StepCost:
    """What one example in a training step costs, and the size that this was measured at."""

    flops: float
    seconds: float
    size: str


def draw(metrics: Sequence[Path], measures: Sequence[Path], prefix: Path, against: Literal["flops", "seconds"]) -> None:
    """Write ``<prefix>.png`` and ``.svg``.

    Args:
        metrics: ``metrics.json`` of every run; ``history.csv`` is read beside it. Failed runs are left out.
        measures: ``measure.json`` of measured cells; methods without one are named as not shown.
        prefix: the files' path without its ending.
        against: the horizontal axis.

    Raises:
        LraError: a file is no run's or no measurement.
    """
    runs = read_runs(metrics)
    costs = read_costs(measures)
    chosen = styles(run.attention for run in runs)
    cells: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.ok and (run.task, run.attention) in costs:
            cells.setdefault((run.task, run.attention), []).append(run)
    with look():
        figure, axes, place = panels(list(dict.fromkeys(run.task for run in runs)))
        more: list[Line2D] = []
        for (task, attention), cell in cells.items():
            examples = cell[0].metrics["settings"]["train"]["batch"]
            steps, best = best_so_far([run.history() for run in cell])
            spent = np.array(steps) * examples * getattr(costs[task, attention], against)
            offset = 0.1 * list(chosen).index(attention) / len(chosen)  # so that markers do not hide each other
            axes[task].plot(spent, 100 * np.array(best), markevery=(offset, 0.1), **chosen[attention].line())
            if attention == YARDSTICK and steps:
                axes[task].axvline(spent[int(np.argmax(best))], **EXACT)
                more = [Line2D([], [], label=f"{title(YARDSTICK)} at its best", **EXACT)]
        for task, axis in axes.items():
            sizes = " or ".join(dict.fromkeys(costs[cell].size for cell in cells if cell[0] == task))
            missing = [name for name in chosen if (task, name) not in cells]
            label_x(axis, LABELS[against] + (f" ({sizes})" if sizes else ""), missing)
            axis.set_ylabel("best dev accuracy so far [%]")
            axis.yaxis.set_major_locator(MaxNLocator(6))
            if sizes:
                axis.set_xscale("log")
        shown = {attention for _, attention in cells}
        legend(place, {name: style for name, style in chosen.items() if name in shown}, more=more)
        footnote(figure, runs_basis(runs))
        save(figure, prefix)


def best_so_far(histories: Sequence[Sequence[dict[str, float]]]) -> tuple[list[float], list[float]]:
    """Steps that every seed evaluated, and the mean over seeds of the best dev accuracy until then."""
    by_step = []
    for history in histories:
        best = itertools.accumulate((row["dev_accuracy"] for row in history), max)
        by_step.append(dict(zip([row["step"] for row in history], best, strict=True)))
    shared = [step for step in by_step[0] if all(step in rows for rows in by_step)]
    return shared, [float(np.mean([rows[step] for rows in by_step])) for step in shared]


def read_costs(paths: Sequence[Path]) -> dict[tuple[str, str], StepCost]:
    """What an example costs in a training step, by task and attention; of cells that could be measured.

    Raises:
        LraError: a file is no measurement.
    """
    found = {}
    for path in paths:
        measure = read_measure(path)
        try:
            if measure["status"] == "ok":
                found[measure["task"], measure["attention"]] = StepCost(
                    BACKWARD_TOO * float(measure["flops_forward"]),
                    float(measure["seconds_per_1000_steps"]) / 1000 / measure["paper_batch"],
                    f"n = {measure['length']}, d = {measure['settings']['attention']['features']}",
                )
        except (KeyError, TypeError, ValueError) as problem:
            raise LraError(f"{path} is not a measurement ({problem}); measure this cell again.") from problem
    return found
