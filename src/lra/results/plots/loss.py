"""Dev loss during training, one panel per task and one line per method (the paper's figure 2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.ticker import MaxNLocator

from lra.results.basis import runs_basis
from lra.results.plots.style import figure_settings, footnote, label_x, legend, panels, plain_log_axis, save, styles
from lra.results.reading import Run, read_runs

LABELS = {"seconds": "training time [s]", "step": "training step"}


def draw(metrics: Sequence[Path], prefix: Path, against: Literal["seconds", "step"]) -> None:
    """Write ``<prefix>.png`` and ``.svg``.

    Args:
        metrics: ``metrics.json`` of every run, with ``history.csv`` in the same folder. Failed runs are left out.
        prefix: path of the files without their extension.
        against: quantity on the horizontal axis. Seconds count training steps only; their axis is logarithmic, because
            the methods differ by factors.
    """
    runs = read_runs(metrics)
    method_styles = styles(run.attention for run in runs)
    cells: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.ok:
            cells.setdefault((run.task, run.attention), []).append(run)
    with figure_settings():
        figure, axes, legend_axis = panels(list(dict.fromkeys(run.task for run in runs)))
        for (task, attention), cell in cells.items():
            curve = mean_curve([run.history() for run in cell])
            offset = 0.1 * list(method_styles).index(attention) / len(method_styles)  # keeps markers apart
            style = method_styles[attention]
            axes[task].plot(curve[against], curve["dev_loss"], markevery=(offset, 0.1), **style.line())
            if len(cell) > 1 and curve["step"]:
                ends = [curve["lowest"][-1], curve["highest"][-1]]
                axes[task].plot([curve[against][-1]] * 2, ends, color=style.colour, linewidth=0.8)
        for task, axis in axes.items():
            label_x(axis, LABELS[against], [name for name in method_styles if (task, name) not in cells])
            axis.set_ylabel("dev loss")
            if against == "seconds" and any(task == cell_task for cell_task, _ in cells):
                plain_log_axis(axis)
            else:
                axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        drawn = {attention for _, attention in cells}
        legend(legend_axis, {name: style for name, style in method_styles.items() if name in drawn})
        footnote(figure, runs_basis(runs))
        save(figure, prefix)


def mean_curve(histories: Sequence[Sequence[dict[str, float]]]) -> dict[str, list[float]]:
    """Seconds and dev loss averaged over seeds, and the range of the losses, at steps that every seed evaluated.

    Returns:
        Lists of one length by the keys ``step``, ``seconds``, ``dev_loss``, ``lowest`` and ``highest``.
    """
    by_step = [{row["step"]: row for row in history} for history in histories]
    shared = [step for step in by_step[0] if all(step in rows for rows in by_step)]
    curve = {
        name: [float(np.mean([rows[step][name] for rows in by_step])) for step in shared]
        for name in ("seconds", "dev_loss")
    }
    for name, end in (("lowest", min), ("highest", max)):
        curve[name] = [end(rows[step]["dev_loss"] for rows in by_step) for step in shared]
    return {"step": shared, **curve}
