"""Published accuracies, reference results and one's own rows with their 95 % intervals, one panel a task.

Methods stand below each other, so that a cell that nobody has run shows as a row without a second marker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lra.paths import REFERENCE
from lra.results import published
from lra.results.agreement import published_half_width
from lra.results.beside import COMPARABLE_SCALE
from lra.results.plots.style import footnote, look, save
from lra.results.reference import ReferenceCell, read_cells
from lra.results.rows import TableRow, read_rows
from lra.results.statistics import mean_accuracy

PUBLISHED, REFERENCED, OWN = "published", "reference results", "your runs"
STYLES: dict[str, dict[str, Any]] = {
    PUBLISHED: {"color": "#808080", "marker": "D", "markerfacecolor": "white", "markersize": 5},
    REFERENCED: {"color": "#0072b2", "marker": "o", "markersize": 5},
    OWN: {"color": "#d55e00", "marker": "s", "markersize": 4.5},
}
OFFSETS = {PUBLISHED: 0.0, REFERENCED: 0.25, OWN: -0.25}
"""Where the markers of a method stand, in rows below its name's middle."""


@dataclass(frozen=True)
class Mark:
    """A mean and the ends of its 95 % interval, in per cent."""

    mean: float
    low: float
    high: float


def draw(table: Path | None, prefix: Path, reference: Path = REFERENCE) -> None:
    """Write ``<prefix>.png`` and ``.svg``.

    Args:
        table: what ``lra collect`` wrote; rows of another scale than the paper's do not compare and are left out. None
            for published values and reference results alone.
        prefix: the files' path without its ending.
        reference: folder of the reference results.
    """
    rows = [row for row in (read_rows(table) if table else []) if row.scale == COMPARABLE_SCALE]
    cells = read_cells(COMPARABLE_SCALE, reference)
    names = list(dict.fromkeys([*published.attentions(), *(row.attention for row in rows), *(key[1] for key in cells)]))
    known = published.tasks()
    tasks = list(dict.fromkeys([*known, *(row.task for row in rows), *(key[0] for key in cells)]))
    marks = {task: _marks(task, names, rows, cells) for task in tasks}
    tasks = [task for task in tasks if any(marks[task].values())]
    with look():
        figure = Figure(figsize=(3 + 2.2 * len(tasks), 1.4 + 0.27 * len(names)), layout="constrained")
        panels = figure.subplots(1, len(tasks), squeeze=False, sharey=True)[0]
        for axis, task in zip(panels, tasks, strict=True):
            _panel(axis, names, marks[task])
            axis.set_title(published.task_title(task), loc="left")
        panels[0].set_yticks(range(len(names)), [published.title(name) for name in names])
        panels[0].set_ylim(len(names) - 0.4, -0.6)
        shown = [kind for kind in STYLES if any(kind in mine for task in tasks for mine in marks[task].values())]
        handles = [Line2D([], [], label=kind, linestyle="-", linewidth=1, **STYLES[kind]) for kind in shown]
        figure.legend(handles=handles, loc="outside upper right", ncols=len(handles))
        footnote(figure, _note(marks, names, table is not None and not rows))
        save(figure, prefix)


def _marks(
    task: str, names: Sequence[str], rows: Sequence[TableRow], cells: Mapping[tuple[str, str], ReferenceCell]
) -> dict[str, dict[str, Mark]]:
    """What there is to draw of a task, by attention and kind."""
    own = {row.attention: row for row in rows if row.task == task}
    found: dict[str, dict[str, Mark]] = {}
    for name in names:
        marks = found[name] = {}
        cell = cells.get((task, name))
        told = published.accuracy(name, task)
        if told is not None:
            half = published_half_width(told, cell.accuracies if cell else [], published.test_rows(task))
            marks[PUBLISHED] = Mark(100 * told, 100 * (told - half), 100 * (told + half))
        if cell:
            mean = mean_accuracy(cell.correct)
            marks[REFERENCED] = Mark(100 * mean.mean, 100 * mean.low, 100 * mean.high)
        row = own.get(name)
        if row and row.accuracy is not None and row.accuracy_low is not None and row.accuracy_high is not None:
            marks[OWN] = Mark(100 * row.accuracy, 100 * row.accuracy_low, 100 * row.accuracy_high)
    return found


def _panel(axis: Axes, names: Sequence[str], marks: Mapping[str, Mapping[str, Mark]]) -> None:
    run = 0
    for place, name in enumerate(names):
        mine = marks[name]
        run += len(mine.keys() - {PUBLISHED}) > 0
        for kind, mark in mine.items():
            at, style = place + OFFSETS[kind], STYLES[kind]
            axis.plot([mark.low, mark.high], [at, at], color=style["color"], linewidth=1, zorder=2)
            axis.plot([mark.mean], [at], linestyle="none", zorder=3, **style)
    axis.set_title(f"{run} of {len(names)} run", loc="right", size=8, weight="normal", color="#666666")
    axis.set_xlabel("test accuracy [%]")
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.tick_params(axis="y", length=0)


def _note(marks: Mapping[str, Mapping[str, Mapping[str, Mark]]], names: Sequence[str], other_scale: bool) -> str:
    """What the intervals hold, and that empty rows were not run."""
    text = (
        "Bars are 95 % intervals: of published values over test examples and, where reference results say how much "
        "seeds vary, over three seeds; of all others over test examples and, from two seeds on, seeds."
    )
    empty = sum(not mine.keys() - {PUBLISHED} for task in marks.values() for mine in task.values())
    if empty:
        text += f" {empty} of {len(marks) * len(names)} cells were not run and have no second marker."
    return f"{text} Your runs are not of the scale {COMPARABLE_SCALE} and do not compare." if other_scale else text
