"""Loss on dev while training, one panel a task, one line a method (the paper's figure 2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.ticker import MaxNLocator

from lra.results.basis import runs_basis
from lra.results.plots.style import footnote, label_x, legend, look, panels, plain_log_axis, save, styles
from lra.results.reading import Run, read_runs

LABELS = {"seconds": "training time [s]", "step": "training step"}


def draw(metrics: Sequence[Path], prefix: Path, against: Literal["seconds", "step"]) -> None:
    """Write ``<prefix>.png`` and ``.svg``.

    Args:
        metrics: ``metrics.json`` of every run; ``history.csv`` is read beside it. Failed runs are left out.
        prefix: the files' path without its ending.
        against: the horizontal axis. Seconds are those of training steps alone, on a logarithmic axis because the
            methods differ several times over.
    """
    runs = read_runs(metrics)
    chosen = styles(run.attention for run in runs)
    cells: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.ok:
            cells.setdefault((run.task, run.attention), []).append(run)
    with look():
        figure, axes, place = panels(list(dict.fromkeys(run.task for run in runs)))
        for (task, attention), cell in cells.items():
            curve = mean_curve([run.history() for run in cell])
            offset = 0.1 * list(chosen).index(attention) / len(chosen)  # so that markers do not hide each other
            axes[task].plot(curve[against], curve["dev_loss"], markevery=(offset, 0.1), **chosen[attention].line())
            if len(cell) > 1 and curve["step"]:
                ends = [curve["lowest"][-1], curve["highest"][-1]]
                axes[task].plot([curve[against][-1]] * 2, ends, color=chosen[attention].colour, linewidth=0.8)
        for task, axis in axes.items():
            label_x(axis, LABELS[against], [name for name in chosen if (task, name) not in cells])
            axis.set_ylabel("dev loss")
            if against == "seconds" and any(task == drawn for drawn, _ in cells):
                plain_log_axis(axis)
            else:
                axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        shown = {attention for _, attention in cells}
        legend(place, {name: style for name, style in chosen.items() if name in shown})
        footnote(figure, runs_basis(runs))
        save(figure, prefix)


def mean_curve(histories: Sequence[Sequence[dict[str, float]]]) -> dict[str, list[float]]:
    """Mean of the seeds' seconds and dev losses at each step that every seed evaluated, and the range of the losses."""
    by_step = [{row["step"]: row for row in history} for history in histories]
    shared = [step for step in by_step[0] if all(step in rows for rows in by_step)]
    curve = {
        name: [float(np.mean([rows[step][name] for rows in by_step])) for step in shared]
        for name in ("seconds", "dev_loss")
    }
    for name, end in (("lowest", min), ("highest", max)):
        curve[name] = [end(rows[step]["dev_loss"] for rows in by_step) for step in shared]
    return {"step": shared, **curve}
