"""Accuracy and time of one attention by batch size and learning rate (the paper's figure 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from scipy import stats

from lra.errors import LraError
from lra.results.basis import runs_basis
from lra.results.plots.style import Style, figure_settings, footnote, label_x, save, styles
from lra.results.published import task_title, title
from lra.results.reading import Run, read_runs
from lra.results.statistics import ALPHA, Interval, mean_accuracy

Setting = tuple[int, float]
"""Batch size and learning rate."""

VARIANTS = (
    ("o", "-", False),
    ("s", (0, (4, 1.5)), True),
    ("^", (0, (5, 1.5, 1, 1.5)), False),
    ("D", (0, (1, 1.2)), True),
    ("v", "-", True),
    ("P", (0, (4, 1.5)), False),
    ("*", (0, (5, 1.5, 1, 1.5)), True),
    ("X", (0, (1, 1.2)), False),
)
"""Marker, dashes, and whether the marker is hollow, for each batch size in order; the colour is the attention's."""


def draw(metrics: Sequence[Path], prefix: Path) -> None:
    """Write ``<prefix>.png`` and ``.svg``.

    Args:
        metrics: ``metrics.json`` of every run of the sweep. Failed runs are left out, and settings whose runs all
            failed are named.
        prefix: path of the files without their extension.

    Raises:
        LraError: the runs have more than one attention or task.
    """
    runs = read_runs(metrics, lambda run: (run.task, run.attention, *cell_of(run)))
    first = runs[0]
    for run in runs:
        if (run.task, run.attention) != (first.task, first.attention):
            raise LraError(
                f"{first.folder} and {run.folder} have different tasks or attentions; a sweep needs one of each."
            )
    cells: dict[Setting, list[Run]] = {cell_of(run): [] for run in runs}
    for run in runs:
        if run.ok:
            cells[cell_of(run)].append(run)
    batch_styles = _styles(first.attention, sorted({batch for batch, _ in cells}))
    with figure_settings():
        figure = Figure(figsize=(10, 3.4), layout="constrained")
        left, right, legend_axis = figure.subplots(1, 3, width_ratios=(1, 1, 0.3))
        _panel(left, cells, batch_styles, _accuracy)
        left.set_title(f"{title(first.attention)}, {task_title(first.task)}", loc="left")
        majority = f"majority class {100 * first.metrics['majority_accuracy']:.1f} %"
        left.set_title(majority, loc="right", size=8, weight="normal", color="#666666")
        left.set_ylabel("test accuracy [%]")
        _panel(right, cells, batch_styles, _seconds)
        right.set_ylabel("seconds per 1000 steps\n(not measured alone)")
        right.set_ylim(bottom=0)
        handles = [Line2D([], [], label=f"{batch}", **style.line()) for batch, style in batch_styles.items()]
        legend_axis.axis("off")
        legend_axis.legend(handles=handles, loc="center left", handlelength=3.2, title="batch size")
        footnote(figure, runs_basis(runs))
        save(figure, prefix)


def cell_of(run: Run) -> Setting:
    """A run's batch size and learning rate."""
    train = run.metrics["settings"]["train"]
    return int(train["batch"]), float(train["learning_rate"])


def _styles(attention: str, batches: Sequence[int]) -> dict[int, Style]:
    base = styles([attention])[attention]
    batch_styles = {}
    for i, batch in enumerate(batches):
        marker, dashes, hollow = VARIANTS[i % len(VARIANTS)]
        batch_styles[batch] = replace(base, marker=marker, dashes=dashes, hollow=hollow, width=1.5, size=6)
    return batch_styles


def _accuracy(runs: Sequence[Run]) -> Interval:
    """Mean accuracy of a setting's runs in per cent."""
    interval = mean_accuracy(np.stack([np.equal(*run.predictions()) for run in runs]))
    return Interval(100 * interval.mean, 100 * interval.low, 100 * interval.high)


def _seconds(runs: Sequence[Run]) -> Interval:
    """Mean seconds per 1000 steps of a setting's runs; a single run has no interval."""
    seconds = [1000 * run.metrics["train_seconds"] / run.metrics["steps"] for run in runs]
    mean = float(np.mean(seconds))
    if len(seconds) < 2:
        return Interval(mean, mean, mean)
    half = float(stats.t.ppf(1 - ALPHA / 2, len(seconds) - 1) * stats.sem(seconds))
    return Interval(mean, mean - half, mean + half)


def _panel(
    axis: Axes,
    cells: dict[Setting, list[Run]],
    batch_styles: dict[int, Style],
    quantity: Callable[[Sequence[Run]], Interval],
) -> None:
    """Draw a line through the means of each batch size, with 95 % intervals."""
    for i, (batch, style) in enumerate(batch_styles.items()):
        shift = 10 ** (0.04 * (i - (len(batch_styles) - 1) / 2))  # keeps intervals apart
        rates = sorted(rate for size, rate in cells if size == batch and cells[size, rate])
        points = [quantity(cells[batch, rate]) for rate in rates]
        axis.plot([rate * shift for rate in rates], [point.mean for point in points], **style.line())
        for rate, point in zip(rates, points, strict=True):
            axis.plot([rate * shift] * 2, [point.low, point.high], color=style.colour, linewidth=0.8, zorder=1)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(sorted({rate for _, rate in cells})))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_locator(MaxNLocator(6))
    label_x(axis, "learning rate", [f"batch {batch} at {rate:g}" for (batch, rate), runs in cells.items() if not runs])
