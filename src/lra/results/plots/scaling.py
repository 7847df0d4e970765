"""Time and memory of attention cores against the length, both axes logarithmic, with the power of n that fits.

Where the table holds what the device was measured to do at most, two grey lines show the least time that this allows.
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
from lra.results.plots.style import label_x, look, save, styles
from lra.results.published import title

QUANTITIES = {
    "ms": "forward and backward pass [ms a sequence]",
    "peak_mib": "peak memory [MiB a sequence]",
}

LIMITS: dict[str, tuple[str, Literal[":", "--"]]] = {
    "copy_ms": ("reading and writing the tensors once", ":"),
    "matmul_ms": ("matrix products of exact attention", "--"),
}
"""Columns of the least times, what takes them, and how they are drawn."""
EXACT = "softmax_nodropout"
"""The attention whose matrix products these are."""


def draw(table: Path, prefix: Path) -> None:
    """Write ``<prefix>.png`` and ``.svg``.

    Args:
        table: what ``lra bench`` wrote; a row of panels for each of its data types.
        prefix: the files' path without its ending.
    """
    rows = read_table(table, ("attention", "length", "batch", "device", "dtype", *QUANTITIES), "lra bench")
    if rows["ms"].isna().all():
        raise LraError(f"{table} has no numbers, only failures; read its column `reason`, then run `lra bench` again.")
    for quantity in {*QUANTITIES, *LIMITS} & set(rows):
        rows[quantity] = rows[quantity] / rows["batch"]
    kinds = list(rows["dtype"].unique())
    with look():
        figure = Figure(figsize=(12, 4.8 * len(kinds)), layout="constrained")
        grid = figure.subplots(len(kinds), 3, squeeze=False, width_ratios=(1, 1, 0.75))
        for kind, (*panels, place) in zip(kinds, grid, strict=True):
            chosen = rows[rows["dtype"] == kind]
            for axis, (quantity, label) in zip(panels, QUANTITIES.items(), strict=True):
                _panel(axis, chosen, quantity)
                axis.set_title(f"{chosen['device'].iloc[0]}, {kind}", loc="left")
                axis.set_ylabel(label)
            _limits(panels[0], chosen)
            _legend(place, chosen)
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


def _limits(axis: Axes, rows: pd.DataFrame) -> None:
    """The least times that the device allows, as far as the table knows them."""
    exact = rows[rows["attention"] == EXACT].sort_values("length")
    for column, (what, dashes) in LIMITS.items():
        if column in rows and exact[column].notna().any():
            axis.plot(exact["length"], exact[column], color="0.5", linestyle=dashes, linewidth=1, label=what)


def _legend(place: Axes, rows: pd.DataFrame) -> None:
    """Each method with the powers of n that its time and its memory grow by, and how far from the limits it is."""
    heading = "powers of n: (time, memory" + ("; time ÷ least time)" if set(LIMITS) <= set(rows) else ")")
    handles = []
    drawn = rows.dropna(subset=["ms"])
    for attention, style in styles(drawn["attention"]).items():
        points = drawn[drawn["attention"] == attention]
        powers = [exponent(points["length"].tolist(), points[quantity].tolist()) for quantity in QUANTITIES]
        fitted = ", ".join("?" if power is None else f"{power:.2f}" for power in powers)
        distance = _distance(points)
        handles.append(Line2D([], [], label=f"{title(attention)} ({fitted}{distance})", **style.line()))
    if set(LIMITS) <= set(rows) and (drawn["attention"] == EXACT).any():
        for what, dashes in LIMITS.values():
            handles.append(Line2D([], [], label=f"at least: {what}", color="0.5", linestyle=dashes, linewidth=1))
    place.axis("off")
    place.legend(handles=handles, loc="center left", handlelength=3.2, title=heading)


def _distance(points: pd.DataFrame) -> str:
    """At the longest length: time as a multiple of the least that copying and the method's own products take."""
    if not set(LIMITS) <= set(points):
        return ""
    longest = points.sort_values("length").iloc[-1:]
    ratio = float((longest["ms"] / longest[list(LIMITS)].max(axis=1)).iloc[0])
    return f"; {ratio:.1f}×"


def exponent(lengths: Sequence[float], values: Sequence[float]) -> float | None:
    """The power of n that fits best on logarithmic axes; None for fewer than two lengths."""
    if len(set(lengths)) < 2:
        return None
    return float(np.polyfit(np.log(lengths), np.log(values), 1)[0])
