"""The style of all figures: a method has the same colour, marker and dashes everywhere.

A colour marks a family of methods. The palette of Okabe and Ito suits colour-blind readers. Marker and dashes
distinguish the members of a family, and all methods in print without colour.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lra.files import atomic_write
from lra.results.published import task_title, title

Dashes = str | tuple[float, tuple[float, ...]]


@dataclass(frozen=True)
class Style:
    """Style of a method; a hollow marker marks a variant of another method."""

    colour: str
    marker: str
    dashes: Dashes = "-"
    hollow: bool = False
    width: float = 1.2
    size: float = 5.0

    def line(self) -> dict[str, Any]:
        """Keyword arguments of ``Axes.plot``."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "linestyle": self.dashes,
            "linewidth": self.width,
            "markersize": self.size,
            "markerfacecolor": "white" if self.hollow else self.colour,
            "markeredgecolor": self.colour,
            "markeredgewidth": 1.0,
        }


_DASHED, _DASHDOT, _DOTTED, _LONG = (0, (4, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (1, 1.2)), (0, (8, 2, 2, 2, 2, 2))
_BLACK, _GREY, _BROWN = "#000000", "#808080", "#7a5a00"
_ORANGE, _SKY, _GREEN, _BLUE, _VERMILION, _PINK = "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#cc79a7"

STYLES = {
    "softmax": Style(_BLACK, "o", width=2),
    "softmax_nodropout": Style(_BLACK, "o", _DASHED, hollow=True),
    "vmean": Style(_GREY, "X", _DOTTED, size=6),
    "bigbird": Style(_BLUE, "s"),
    "performer": Style(_ORANGE, "^", size=6),
    "nystrom": Style(_GREEN, "D", size=4.5),
    "reformer": Style(_SKY, "v", size=6),
    "linformer": Style(_PINK, "P", size=6),
    "linformer_jlt": Style(_PINK, "P", _DASHED, hollow=True, size=6),
    "informer": Style(_BROWN, "h", size=6),
    "informer_mask": Style(_BROWN, "h", _DASHED, hollow=True, size=6),
    "skeinformer": Style(_VERMILION, "*", width=2, size=9),
    "skein_uniform": Style(_VERMILION, "<", _DASHED, hollow=True, size=6),
    "skein_nonorm": Style(_VERMILION, ">", _DASHDOT, hollow=True, size=6),
    "skein_simplenorm": Style(_VERMILION, "d", _DOTTED, hollow=True, size=6),
    "skein_nopilot": Style(_VERMILION, "p", _LONG, hollow=True, size=6),
}
"""The paper's methods."""

_INDIGO, _WINE, _TEAL = "#332288", "#882255", "#44aa99"
BEYOND = {
    "local": Style(_INDIGO, "s", _DASHED, hollow=True),
    "longformer": Style(_INDIGO, "^", _DASHDOT, hollow=True, size=6),
    "sparse": Style(_INDIGO, "D", _DOTTED, hollow=True, size=4.5),
    "sinkhorn": Style(_INDIGO, "v", _LONG, hollow=True, size=6),
    "hierarchical": Style(_INDIGO, "X", hollow=True, size=6),
    "linear": Style(_TEAL, "<", size=6),
    "cosformer": Style(_TEAL, ">", _DASHED, size=6),
    "skyformer": Style(_TEAL, "*", _DASHDOT, hollow=True, size=9),
    "synthesizer": Style(_WINE, "1", _DOTTED, size=7),
    "luna": Style(_WINE, "2", _LONG, size=7),
    "fnet": Style(_WINE, "+", _DASHED, size=7),
    "retention": Style(_GREY, "3", _LONG, size=7),
    "s4d": Style(_GREY, "4", _DASHDOT, size=7),
}
"""Methods beyond the paper's: patterns, kernels, other attentions, and in grey the yardsticks (other layers)."""

_SPARE_COLOURS = ("#332288", "#882255", "#999933", "#44aa99")
_SPARE_LINES: tuple[tuple[str, Dashes], ...] = (("8", "-"), ("H", _DASHED), ("d", _DASHDOT), ("p", _DOTTED))
_SPARE = [
    Style(_SPARE_COLOURS[(i + turn) % 4], marker, dashes, hollow, size=6)
    for turn in range(4)
    for hollow in (False, True)
    for i, (marker, dashes) in enumerate(_SPARE_LINES)
]


def styles(attentions: Iterable[str]) -> dict[str, Style]:
    """The style of each attention; attentions of the user's get spare styles in alphabetical order."""
    names = list(dict.fromkeys(attentions))
    known = STYLES | BEYOND
    unknown = sorted(name for name in names if name not in known)
    spare = {name: _SPARE[i % len(_SPARE)] for i, name in enumerate(unknown)}
    return {name: known.get(name) or spare[name] for name in names}


RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "savefig.dpi": 200,
    # Identifiers in SVG files are reproducible.
    "svg.hashsalt": "lra",
}


@contextmanager
def figure_settings() -> Iterator[None]:
    """Settings to draw and save a figure under, independent of the user's ``matplotlibrc``."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        yield


def panels(tasks: Sequence[str]) -> tuple[Figure, dict[str, Axes], Axes]:
    """A figure, its axes by task, and the axes for the legend after the last panel."""
    columns = {1: 2, 2: 3, 3: 2}.get(len(tasks), 3)
    rows = -(-(len(tasks) + 1) // columns)
    figure = Figure(figsize=(3.7 * columns, 3.1 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    axes = dict(zip(tasks, grid[: len(tasks)], strict=True))
    for task, axis in axes.items():
        axis.set_title(task_title(task), loc="left")
    for axis in grid[len(tasks) :]:
        axis.axis("off")
    return figure, axes, grid[len(tasks)]


def legend(axis: Axes, method_styles: dict[str, Style], *, lines: bool = True, more: Sequence[Line2D] = ()) -> None:
    """Draw a legend of the methods and of ``more`` handles; without ``lines``, methods have markers only."""
    handles = [
        Line2D([], [], label=title(name), **style.line() | ({} if lines else {"linestyle": "none"}))
        for name, style in method_styles.items()
    ]
    handles += more
    # Reduce the font size for more entries than fit beside one row of panels.
    size = RC["legend.fontsize"] * 15 / max(15, len(handles))
    axis.legend(handles=handles, loc="center left", bbox_to_anchor=(0, 0.5), handlelength=3.2, fontsize=size)


def plain_log_axis(axes: Axes) -> None:
    """Make the x axis logarithmic, with short plain labels at 1, 2 and 5 of each decade."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value / 1000:g}k" if value >= 1000 else f"{value:g}")
    )
    axes.xaxis.set_minor_locator(NullLocator())


def label_x(axes: Axes, label: str, missing: Iterable[str]) -> None:
    """Label the x axis, and name the methods without data below it."""
    names = ", ".join(title(name) for name in missing)
    axes.set_xlabel(label + ("\n" + textwrap.fill(f"not shown: {names}", 44) if names else ""))


def footnote(figure: Figure, text: str) -> None:
    """Write a text in small print below the figure."""
    width = int(figure.get_figwidth() * 20)
    figure.supxlabel(textwrap.fill(text, width), x=0.01, ha="left", size=7, color="#666666")


def save(figure: Figure, prefix: Path) -> None:
    """Write ``<prefix>.png`` and ``<prefix>.svg``."""
    for file_format, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        with atomic_write(prefix.with_name(f"{prefix.name}.{file_format}")) as temporary:
            figure.savefig(temporary, format=file_format, metadata=metadata)
