"""Error of the approximations against the budget d (the paper's figure 1), one panel per length and weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from lra.errors import LraError
from lra.results.plots.reading import read_table
from lra.results.plots.style import figure_settings, label_x, legend, save, styles

COLUMNS = ("attention", "weights", "length", "features", "mean", "standard_error")


def draw(tables: Sequence[Path], prefix: Path) -> None:
    """Write ``<prefix>.png`` and ``.svg``.

    Args:
        tables: the tables that ``lra approximate`` wrote, one file per method. Failed cells are left out, and methods
            without any finished cell are named. Bars are standard errors.
        prefix: path of the files without their extension.
    """
    rows = pd.concat([read_table(table, COLUMNS, "lra approximate") for table in tables], ignore_index=True)
    if rows["mean"].isna().all():
        raise LraError(f"{tables[0]} has only failures; read its column `reason`, then run `lra approximate` again.")
    weights_names, lengths = list(rows["weights"].unique()), sorted(rows["length"].unique())
    with figure_settings():
        figure = Figure(figsize=(4 * len(lengths) + 3, 3.6 * len(weights_names)), layout="constrained")
        grid = figure.subplots(
            len(weights_names), len(lengths) + 1, squeeze=False, width_ratios=[4] * len(lengths) + [3]
        )
        for weights, (*panels, last) in zip(weights_names, grid, strict=True):
            last.axis("off")
            for length, axis in zip(lengths, panels, strict=True):
                _panel(axis, rows[(rows["weights"] == weights) & (rows["length"] == length)])
                axis.set_title(f"{weights} weights, n = {length}", loc="left")
        legend(grid[0, -1], styles(rows.dropna(subset=["mean"])["attention"]))
        save(figure, prefix)


def _panel(axis: Axes, rows: pd.DataFrame) -> None:
    drawn = rows.dropna(subset=["mean"])
    for attention, style in styles(drawn["attention"]).items():
        points = drawn[drawn["attention"] == attention].sort_values("features")
        errors = points["standard_error"].fillna(0)
        axis.errorbar(points["features"], points["mean"], yerr=errors, elinewidth=0.8, **style.line())
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.xaxis.set_major_locator(FixedLocator(sorted(rows["features"].unique())))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_locator(NullLocator())
    label_x(axis, "budget d", sorted(set(rows["attention"]) - set(drawn["attention"])))
    axis.set_ylabel("spectral error / exact output")
