# Targets made from finished runs: functions of report.smk.

import os
from pathlib import Path
from typing import NamedTuple

from lra.results.captions import CAPTIONS
from lra.results.published import COMPARABLE_SCALE

TABLES = ("accuracy", "time", "memory", "flops")


class Plot(NamedTuple):
    """Command and inputs of a figure."""

    command: str
    reads: list
    code: str
    beside: list = []  # files that the command finds beside those of `reads`
    measures: list = []  # files for --measures
    out: str = ""  # name within the folder of figures
    references: list = []  # checksums of the reference results that it shows


# Reference results stand beside one's own: those of this folder, or of the checkout that the workflow is taken from.
# Its path is relative, so that a checkout that was moved makes nothing again.
PLACES = paths.REFERENCE, Path(os.path.relpath(SOURCE.parent / paths.REFERENCE))
REFERENCE = next((path for path in PLACES if path.is_dir()), paths.REFERENCE)


def get_reference_checksums():
    """Checksums of the reference results of this scale, as far as it compares with them."""
    if ARENA.scale != COMPARABLE_SCALE:
        return []
    return [sha256(file) for file in sorted(REFERENCE.glob(f"{ARENA.scale}/*/*/*.json"))]


def get_known_plots():
    """The figures of this configuration, by name."""
    metrics, history = get_all_runs(paths.METRICS), get_all_runs(paths.HISTORY)
    plots = {
        "accuracy_time": Plot("plots accuracy_time --table", [paths.TABLE], "lra.results.plots.accuracy_time"),
        "loss_seconds": Plot("plots loss_seconds --metrics", metrics, "lra.results.plots.loss", history),
        "loss_steps": Plot("plots loss_steps --metrics", metrics, "lra.results.plots.loss", history),
    }
    for figure in ("accuracy_flops", "accuracy_seconds"):
        code = "lra.results.plots.equal_compute"
        plots[figure] = Plot(f"plots {figure} --metrics", metrics, code, history, measures=get_measures())
    if ARENA.scale == COMPARABLE_SCALE:
        plots["published"] = Plot(
            f"plots published --reference {REFERENCE} --table",
            [paths.TABLE],
            "lra.results.plots.published",
            references=get_reference_checksums(),
        )
    if ARENA.bench:
        plots["bench"] = Plot("plot-bench", [paths.BENCH], "lra.results.plots.scaling", out="bench")
    if SWEEP:
        plots["sweep"] = Plot(
            "plots sweep --metrics",
            get_swept(paths.METRICS),
            "lra.results.plots.sweep",
            get_swept(paths.PREDICTIONS),
        )
    if get_approximating():
        errors = get_approximations()
        plots["approximation"] = Plot(
            "plot-approximation",
            errors,
            "lra.results.plots.approximation",
            out="approximation",
        )
    return plots


PLOTS = get_known_plots()


def get_plots(*endings):
    """Every figure in these formats."""
    return [paths.plot(figure, ending) for figure in PLOTS for ending in endings]


def get_tables(*endings):
    """Every table in these formats."""
    return [paths.table(kind, ending) for kind in TABLES for ending in endings]
