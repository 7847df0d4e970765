"""Accuracy against training time, one panel a task, with the Pareto front: what is beaten in neither."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lra.results.plots.style import Style, label_x, legend, look, panels, plain_log_axis, save, styles
from lra.results.rows import Row, attentions, read_rows, tasks

FRONT: dict[str, Any] = {"color": "#b0b0b0", "linewidth": 1, "linestyle": "-", "zorder": 1}


def draw(table: Path, prefix: Path) -> None:
    """Write ``<prefix>.png`` and ``.svg``.

    Args:
        table: what ``lra collect`` wrote. Times are those measured alone on the machine, or, where the table has no
            measurement at all, the runs' own, and the axis says so.
        prefix: the files' path without its ending.
    """
    rows = read_rows(table)
    measured = any(row.seconds_per_1000_steps is not None for row in rows)
    chosen = styles(attentions(rows))
    shown: set[str] = set()
    with look():
        figure, axes, place = panels(tasks(rows))
        for task, axis in axes.items():
            mine = [row for row in rows if row.task == task]
            points = {row.attention: point for row in mine if (point := _point(row, measured))}
            shown |= points.keys()
            for attention, point in points.items():
                _draw_point(axis, point, chosen[attention])
            times, accuracies = [p.time for p in points.values()], [p.accuracy for p in points.values()]
            front = pareto_front(times, accuracies)
            axis.plot([times[i] for i in front], [accuracies[i] for i in front], drawstyle="steps-post", **FRONT)
            _describe(axis, mine[0].majority_accuracy, measured, [name for name in chosen if name not in points])
            if points:
                plain_log_axis(axis)
        front_line = Line2D([], [], label="Pareto front", **FRONT)
        legend(place, {name: chosen[name] for name in chosen if name in shown}, lines=False, more=[front_line])
        save(figure, prefix)


@dataclass(frozen=True)
class _Point:
    """Seconds per 1000 steps, accuracy and its interval in per cent."""

    time: float
    accuracy: float
    low: float
    high: float


def _point(row: Row, measured: bool) -> _Point | None:
    time = row.seconds_per_1000_steps
    if not measured and row.train_seconds and row.steps:
        time = 1000 * row.train_seconds / row.steps
    if time is None or row.accuracy is None:
        return None
    low, high = (row.accuracy if end is None else end for end in (row.accuracy_low, row.accuracy_high))
    return _Point(time, 100 * row.accuracy, 100 * low, 100 * high)


def _draw_point(axis: Axes, point: _Point, style: Style) -> None:
    axis.plot([point.time] * 2, [point.low, point.high], color=style.colour, linewidth=0.8, zorder=2)
    axis.plot([point.time], [point.accuracy], **style.line() | {"linestyle": "none", "zorder": 3})


def _describe(axis: Axes, majority: float | None, measured: bool, missing: Sequence[str]) -> None:
    if majority is not None:
        text = f"majority class {100 * majority:.1f} %"
        axis.set_title(text, loc="right", size=8, weight="normal", color="#666666")
    label_x(axis, "seconds per 1000 steps" + ("" if measured else " (not measured alone)"), missing)
    axis.set_ylabel("test accuracy [%]")
    axis.yaxis.set_major_locator(MaxNLocator(6))


def pareto_front(times: Sequence[float], accuracies: Sequence[float]) -> list[int]:
    """Indices of the points that no other point beats in time and accuracy, from the fastest to the most accurate."""
    front: list[int] = []
    for i in sorted(range(len(times)), key=lambda i: (times[i], -accuracies[i])):
        if not front or accuracies[i] > accuracies[front[-1]]:
            front.append(i)
    return front
