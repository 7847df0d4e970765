"""Time and memory of attention cores against the length, on logarithmic axes, with the fitted power of n.

If the table has the measured peak rates of the device, two grey lines show the least times that these rates allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from lra.errors import LraError
from lra.results.plots.reading import read_table
from lra.results.plots.style import figure_settings, label_x, save, styles
from lra.results.published import title

QUANTITIES = {
    "ms": "forward and backward pass [ms a sequence]",
    "peak_mib": "peak memory [MiB a sequence]",
}

LIMITS: dict[str, tuple[str, Literal[":", "--"]]] = {
    "copy_ms": ("reading and writing the tensors once", ":"),
    "matmul_ms": ("matrix products of exact attention", "--"),
}
"""Columns of the least times, each with its description and line style."""
EXACT = "softmax_nodropout"
"""The attention whose matrix products ``matmul_ms`` counts."""


def draw(table: Path, prefix: Path) -> None:
    """Write ``<prefix>.png`` and ``.svg``.

    Args:
        table: the table that ``lra bench`` wrote; each dtype gets a row of panels.
        prefix: path of the files without their extension.
    """
    rows = read_table(table, ("attention", "length", "batch", "device", "dtype", *QUANTITIES), "lra bench")
    if rows["ms"].isna().all():
        raise LraError(f"{table} has only failures; read its column `reason`, then run `lra bench` again.")
    for quantity in {*QUANTITIES, *LIMITS} & set(rows):
        rows[quantity] = rows[quantity] / rows["batch"]
    dtypes = list(rows["dtype"].unique())
    with figure_settings():
        figure = Figure(figsize=(12, 4.8 * len(dtypes)), layout="constrained")
        grid = figure.subplots(len(dtypes), 3, squeeze=False, width_ratios=(1, 1, 0.75))
        for dtype, (*panels, legend_axis) in zip(dtypes, grid, strict=True):
            dtype_rows = rows[rows["dtype"] == dtype]
            for axis, (quantity, label) in zip(panels, QUANTITIES.items(), strict=True):
                _panel(axis, dtype_rows, quantity)
                axis.set_title(f"{dtype_rows['device'].iloc[0]}, {dtype}", loc="left")
                axis.set_ylabel(label)
            _draw_limits(panels[0], dtype_rows)
            _legend(legend_axis, dtype_rows)
        save(figure, prefix)


def _panel(axis: Axes, rows: pd.DataFrame, quantity: str) -> None:
    drawn = rows.dropna(subset=[quantity])
    for attention, style in styles(drawn["attention"]).items():
        points = drawn[drawn["attention"] == attention].sort_values("length")
        axis.plot(points["length"], points[quantity], **style.line())
    lengths = sorted(rows["length"].unique())
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.xaxis.set_major_locator(FixedLocator(lengths))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_locator(NullLocator())
    label_x(axis, "length n", sorted(set(rows["attention"]) - set(drawn["attention"])))


def _draw_limits(axis: Axes, rows: pd.DataFrame) -> None:
    """Draw the least times that the device allows, if the table has them."""
    exact = rows[rows["attention"] == EXACT].sort_values("length")
    for column, (label, dashes) in LIMITS.items():
        if column in rows and exact[column].notna().any():
            axis.plot(exact["length"], exact[column], color="0.5", linestyle=dashes, linewidth=1, label=label)


def _legend(axis: Axes, rows: pd.DataFrame) -> None:
    """List each method with the fitted powers of n of time and memory, and its time relative to the least time."""
    heading = "powers of n: (time, memory" + ("; time ÷ least time)" if set(LIMITS) <= set(rows) else ")")
    handles = []
    drawn = rows.dropna(subset=["ms"])
    for attention, style in styles(drawn["attention"]).items():
        points = drawn[drawn["attention"] == attention]
        powers = [exponent(points["length"].tolist(), points[quantity].tolist()) for quantity in QUANTITIES]
        fitted = ", ".join("?" if power is None else f"{power:.2f}" for power in powers)
        ratio = _ratio_to_limit(points)
        handles.append(Line2D([], [], label=f"{title(attention)} ({fitted}{ratio})", **style.line()))
    if set(LIMITS) <= set(rows) and (drawn["attention"] == EXACT).any():
        for label, dashes in LIMITS.values():
            handles.append(Line2D([], [], label=f"at least: {label}", color="0.5", linestyle=dashes, linewidth=1))
    axis.axis("off")
    axis.legend(handles=handles, loc="center left", handlelength=3.2, title=heading)


def _ratio_to_limit(points: pd.DataFrame) -> str:
    """Text with the time at the longest length relative to the least time; empty if the table has no least times."""
    if not set(LIMITS) <= set(points):
        return ""
    longest = points.sort_values("length").iloc[-1:]
    ratio = float((longest["ms"] / longest[list(LIMITS)].max(axis=1)).iloc[0])
    return f"; {ratio:.1f}×"


def exponent(lengths: Sequence[float], values: Sequence[float]) -> float | None:
    """Power of n by a least-squares fit on logarithmic axes; None for fewer than two lengths."""
    if len(set(lengths)) < 2:
        return None
    return float(np.polyfit(np.log(lengths), np.log(values), 1)[0])
