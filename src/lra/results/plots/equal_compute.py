"""Best dev accuracy so far against the cost of training: FLOPs, or seconds alone on the machine.

The cost of a step is measured at the task's full length; the axis names this length and the number of features.
Evaluations are left out. A vertical line marks where exact attention reaches its best.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lra.results.basis import runs_basis
from lra.results.equal_compute import curve, measured_cells, read_costs
from lra.results.plots.style import figure_settings, footnote, label_x, legend, panels, save, styles
from lra.results.published import title
from lra.results.reading import read_runs
from lra.results.rows import YARDSTICK

LABELS = {"flops": "training FLOPs", "seconds": "training time alone on the machine [s]"}
EXACT: dict[str, Any] = {"color": "#909090", "linewidth": 0.8, "linestyle": ":", "zorder": 1}


def draw(metrics: Sequence[Path], measures: Sequence[Path], prefix: Path, against: Literal["flops", "seconds"]) -> None:
    """Write ``<prefix>.png`` and ``.svg``.

    Args:
        metrics: ``metrics.json`` of every run, with ``history.csv`` in the same folder. Failed runs are left out.
        measures: ``measure.json`` of measured cells; methods without one are named as not shown.
        prefix: path of the files without their extension.
        against: quantity on the horizontal axis.

    Raises:
        LraError: a file is not the metrics of a run or not a measurement.
    """
    runs = read_runs(metrics)
    costs = read_costs(measures)
    method_styles = styles(run.attention for run in runs)
    cells = measured_cells(runs, costs)
    with figure_settings():
        figure, axes, legend_axis = panels(list(dict.fromkeys(run.task for run in runs)))
        extra_handles: list[Line2D] = []
        for (task, attention), cell in cells.items():
            spent, best = curve(cell, costs[task, attention], against)
            offset = 0.1 * list(method_styles).index(attention) / len(method_styles)  # keeps markers apart
            axes[task].plot(spent, 100 * np.array(best), markevery=(offset, 0.1), **method_styles[attention].line())
            if attention == YARDSTICK and spent:
                axes[task].axvline(spent[int(np.argmax(best))], **EXACT)
                extra_handles = [Line2D([], [], label=f"{title(YARDSTICK)} at its best", **EXACT)]
        for task, axis in axes.items():
            sizes = " or ".join(dict.fromkeys(costs[cell].size for cell in cells if cell[0] == task))
            missing = [name for name in method_styles if (task, name) not in cells]
            label_x(axis, LABELS[against] + (f" ({sizes})" if sizes else ""), missing)
            axis.set_ylabel("best dev accuracy so far [%]")
            axis.yaxis.set_major_locator(MaxNLocator(6))
            if sizes:
                axis.set_xscale("log")
        drawn = {attention for _, attention in cells}
        drawn_styles = {name: style for name, style in method_styles.items() if name in drawn}
        legend(legend_axis, drawn_styles, more=extra_handles)
        footnote(figure, runs_basis(runs))
        save(figure, prefix)
