"""Published accuracies, reference results and the user's runs with 95 % intervals, one panel per task.

Each method has a line of its own, so that a cell that nobody has run is a line without a second marker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lra.paths import REFERENCE
from lra.results import published
from lra.results.agreement import published_half_width
from lra.results.plots.style import figure_settings, footnote, save
from lra.results.published import COMPARABLE_SCALE
from lra.results.reference import ReferenceCell, read_cells
from lra.results.rows import TableRow, read_rows
from lra.results.statistics import Interval, mean_accuracy

PUBLISHED, REFERENCED, OWN = "published", "reference results", "your runs"
STYLES: dict[str, dict[str, Any]] = {
    PUBLISHED: {"color": "#808080", "marker": "D", "markerfacecolor": "white", "markersize": 5},
    REFERENCED: {"color": "#0072b2", "marker": "o", "markersize": 5},
    OWN: {"color": "#d55e00", "marker": "s", "markersize": 4.5},
}
OFFSETS = {PUBLISHED: 0.0, REFERENCED: 0.25, OWN: -0.25}
"""Vertical offset of each source's marker from the method's line."""


def draw(table: Path | None, prefix: Path, reference: Path = REFERENCE) -> None:
    """Write ``<prefix>.png`` and ``.svg``.

    Args:
        table: the table that ``lra collect`` wrote; rows of scales other than the paper's are not comparable and left
            out. None draws published values and reference results only.
        prefix: path of the files without their extension.
        reference: folder of the reference results.
    """
    rows = [row for row in (read_rows(table) if table else []) if row.scale == COMPARABLE_SCALE]
    cells = read_cells(COMPARABLE_SCALE, reference)
    names = list(dict.fromkeys([*published.attentions(), *(row.attention for row in rows), *(key[1] for key in cells)]))
    tasks = list(dict.fromkeys([*published.tasks(), *(row.task for row in rows), *(key[0] for key in cells)]))
    marks = {task: _marks(task, names, rows, cells) for task in tasks}
    tasks = [task for task in tasks if any(marks[task].values())]
    with figure_settings():
        figure = Figure(figsize=(3 + 2.2 * len(tasks), 1.4 + 0.27 * len(names)), layout="constrained")
        panels = figure.subplots(1, len(tasks), squeeze=False, sharey=True)[0]
        for axis, task in zip(panels, tasks, strict=True):
            _panel(axis, names, marks[task])
            axis.set_title(published.task_title(task), loc="left")
        panels[0].set_yticks(range(len(names)), [published.title(name) for name in names])
        panels[0].set_ylim(len(names) - 0.4, -0.6)
        drawn = {source for task in tasks for cell in marks[task].values() for source in cell}
        sources = [source for source in STYLES if source in drawn]
        handles = [Line2D([], [], label=source, linestyle="-", linewidth=1, **STYLES[source]) for source in sources]
        figure.legend(handles=handles, loc="outside upper right", ncols=len(handles))
        footnote(figure, _note(marks, names, table is not None and not rows))
        save(figure, prefix)


def _marks(
    task: str, names: Sequence[str], rows: Sequence[TableRow], cells: Mapping[tuple[str, str], ReferenceCell]
) -> dict[str, dict[str, Interval]]:
    """Means of a task with their 95 % intervals, in per cent, by attention and source."""
    own = {row.attention: row for row in rows if row.task == task}
    marks: dict[str, dict[str, Interval]] = {}
    for name in names:
        by_source = marks[name] = {}
        cell = cells.get((task, name))
        accuracy = published.accuracy(name, task)
        if accuracy is not None:
            half = published_half_width(accuracy, cell.accuracies if cell else [], published.test_rows(task))
            by_source[PUBLISHED] = Interval(100 * accuracy, 100 * (accuracy - half), 100 * (accuracy + half))
        if cell:
            mean = mean_accuracy(cell.correct)
            by_source[REFERENCED] = Interval(100 * mean.mean, 100 * mean.low, 100 * mean.high)
        row = own.get(name)
        if row and row.accuracy is not None and row.accuracy_low is not None and row.accuracy_high is not None:
            by_source[OWN] = Interval(100 * row.accuracy, 100 * row.accuracy_low, 100 * row.accuracy_high)
    return marks


def _panel(axis: Axes, names: Sequence[str], marks: Mapping[str, Mapping[str, Interval]]) -> None:
    with_runs = 0
    for line, name in enumerate(names):
        with_runs += len(marks[name].keys() - {PUBLISHED}) > 0
        for source, mark in marks[name].items():
            y, style = line + OFFSETS[source], STYLES[source]
            axis.plot([mark.low, mark.high], [y, y], color=style["color"], linewidth=1, zorder=2)
            axis.plot([mark.mean], [y], linestyle="none", zorder=3, **style)
    axis.set_title(f"{with_runs} of {len(names)} run", loc="right", size=8, weight="normal", color="#666666")
    axis.set_xlabel("test accuracy [%]")
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.tick_params(axis="y", length=0)


def _note(marks: Mapping[str, Mapping[str, Mapping[str, Interval]]], names: Sequence[str], other_scale: bool) -> str:
    """Footnote on the intervals, on cells without runs, and on runs of another scale."""
    text = (
        "Bars are 95 % intervals. For published values they cover test examples and, if reference results give the "
        "variance over seeds, three seeds; for other values, test examples and, from two seeds on, seeds."
    )
    empty = sum(not cell.keys() - {PUBLISHED} for task in marks.values() for cell in task.values())
    if empty:
        text += f" {empty} of {len(marks) * len(names)} cells were not run and have no second marker."
    if other_scale:
        text += f" Your runs are left out: their scale is not {COMPARABLE_SCALE}, so they are not comparable."
    return text
