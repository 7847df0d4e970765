"""Accuracy against training time, one panel per task, with the Pareto front.

Accuracy comes from the runs, time from measurements at the task's full length. If their sizes differ, the axes name
both, and no front is drawn, because its points would combine two different models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lra.results.basis import Basis, accuracy_basis, bases, cost_basis
from lra.results.plots.style import (
    Style,
    figure_settings,
    footnote,
    label_x,
    legend,
    panels,
    plain_log_axis,
    save,
    styles,
)
from lra.results.published import title
from lra.results.rows import YARDSTICK, TableRow, attentions, read_rows, tasks
from lra.results.statistics import ENOUGH_SEEDS

FRONT: dict[str, Any] = {"color": "#b0b0b0", "linewidth": 1, "linestyle": "-", "zorder": 1}
RING: dict[str, Any] = {"color": "#b0b0b0", "marker": "o", "fillstyle": "none", "markersize": 12, "linestyle": "none"}
EXACT: dict[str, Any] = {"color": "#909090", "linewidth": 0.8, "linestyle": ":", "zorder": 1}


def draw(table: Path, prefix: Path) -> None:
    """Write ``<prefix>.png`` and ``.svg``.

    Args:
        table: the table that ``lra collect`` wrote. Times are measured alone on the machine. If the table has no
            measurements, the times of the runs are drawn, and the axis says so.
        prefix: path of the files without their extension.
    """
    rows = read_rows(table)
    measured = any(row.seconds_per_1000_steps is not None for row in rows)
    method_styles = styles(attentions(rows))
    drawn: set[str] = set()
    extra_handles: dict[str, Line2D] = {}
    with figure_settings():
        figure, axes, legend_axis = panels(tasks(rows))
        for (task, axis), basis in zip(axes.items(), bases(rows), strict=True):
            task_rows = [row for row in rows if row.task == task]
            points = {row.attention: point for row in task_rows if (point := _point(row, measured))}
            drawn |= points.keys()
            for attention, point in points.items():
                _draw_point(axis, point, method_styles[attention])
            if basis.comparable or not measured:
                extra_handles |= _draw_front(axis, [point for point in points.values() if point.seeds >= ENOUGH_SEEDS])
            if YARDSTICK in points:
                axis.axvline(points[YARDSTICK].time, **EXACT)
                extra_handles["exact"] = Line2D([], [], label=f"time of {title(YARDSTICK)}", **EXACT)
            missing = [name for name in method_styles if name not in points]
            _label(axis, task_rows[0].majority_accuracy, basis, measured, missing)
            if points:
                plain_log_axis(axis)
        drawn_styles = {name: style for name, style in method_styles.items() if name in drawn}
        legend(legend_axis, drawn_styles, lines=False, more=list(extra_handles.values()))
        footnote(figure, f"{accuracy_basis(rows)} {cost_basis(rows)}".strip())
        save(figure, prefix)


@dataclass(frozen=True)
class Point:
    """Seconds per 1000 steps, accuracy and its interval in per cent, and the number of runs."""

    time: float
    accuracy: float
    low: float
    high: float
    seeds: int


def _point(row: TableRow, measured: bool) -> Point | None:
    time = row.seconds_per_1000_steps
    if not measured and row.train_seconds and row.steps:
        time = 1000 * row.train_seconds / row.steps
    if time is None or row.accuracy is None:
        return None
    low, high = (row.accuracy if end is None else end for end in (row.accuracy_low, row.accuracy_high))
    return Point(time, 100 * row.accuracy, 100 * low, 100 * high, row.seeds_ok)


def _draw_point(axis: Axes, point: Point, style: Style) -> None:
    axis.plot([point.time] * 2, [point.low, point.high], color=style.colour, linewidth=0.8, zorder=2)
    axis.plot([point.time], [point.accuracy], **style.line() | {"linestyle": "none", "zorder": 3})


def _draw_front(axis: Axes, points: Sequence[Point]) -> dict[str, Line2D]:
    """Draw the front, and rings around points that may belong to it; returns their legend handles."""
    front = pareto_front(points)
    if not front:
        return {}
    axis.plot([p.time for p in front], [p.accuracy for p in front], drawstyle="steps-post", **FRONT)
    handles = {"front": Line2D([], [], label="Pareto front", **FRONT)}
    if candidates := [point for point in possible_front(points) if point not in front]:
        axis.plot([p.time for p in candidates], [p.accuracy for p in candidates], **RING)
        handles["ring"] = Line2D([], [], label="possibly on the front", **RING | {"markersize": 8})
    return handles


def _label(axis: Axes, majority: float | None, basis: Basis, measured: bool, missing: Sequence[str]) -> None:
    if majority is not None:
        text = f"majority class {100 * majority:.1f} %"
        axis.set_title(text, loc="right", size=8, weight="normal", color="#666666")
    accuracy = "" if basis.length == "?" else f"\nn ≤ {basis.length}, d = {basis.features}"
    label_x(axis, f"seconds per 1000 steps ({basis.cost if measured else 'not measured alone'})", missing)
    axis.set_ylabel(f"test accuracy [%]{accuracy}")
    axis.yaxis.set_major_locator(MaxNLocator(6))


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Points for which no other point is both as fast and more accurate, from the fastest to the most accurate."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.time, -point.accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def possible_front(points: Sequence[Point]) -> list[Point]:
    """Points for which no other point that is as fast has an interval entirely above theirs."""
    return [
        point for point in points if not any(other.time <= point.time and other.low > point.high for other in points)
    ]
