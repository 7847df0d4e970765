"""Finished runs, read and checked: what is averaged or compared must belong together."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from lra import paths
from lra.errors import LraError
from lra.files import read_metrics, refuse_foreign_run_files

NEEDED = {
    "status": str, "reason": str, "task": str, "attention": str, "seed": int, "settings": dict, "code": str,
    "data": str, "test_accuracy": float | int | None, "majority_accuracy": float | int, "test_rows": int,
    "max_steps": int | None,
}  # fmt: skip
RESULTS = {"test_accuracy": float | int, "train_seconds": float | int, "steps": int}
"""What a run that ended well must say besides."""


@dataclass(frozen=True)
class Run:
    """A run's folder and its ``metrics.json``."""

    folder: Path
    metrics: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether it has a result."""
        return bool(self.metrics["status"] == "ok")

    @property
    def task(self) -> str:
        return str(self.metrics["task"])

    @property
    def attention(self) -> str:
        return str(self.metrics["attention"])

    def predictions(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Label and prediction of each test example, (examples,) each.

        Raises:
            LraError: the file is damaged, or not that of the metrics beside it.
        """
        path = self.folder / paths.PREDICTIONS
        foreign = LraError(f"{path} does not belong to the metrics.json beside it; train this run again.")
        try:
            if pq.read_metadata(path).num_rows != self.metrics["test_rows"]:
                raise foreign
            table = pq.read_table(path)
            label, prediction = (table[name].to_numpy() for name in ("label", "prediction"))
        except (OSError, KeyError, ValueError) as problem:
            raise LraError(f"{path} cannot be read ({problem}); train this run again.") from problem
        accuracy = float((label == prediction).mean()) if len(label) else 0.0
        if abs(accuracy - self.metrics["test_accuracy"]) > 1e-9:
            raise foreign
        return label, prediction

    def history(self) -> list[dict[str, float]]:
        """One row an evaluation on dev; the columns are those of ``lra.training.run.HISTORY``.

        Raises:
            LraError: the file is missing or damaged.
        """
        path = self.folder / paths.HISTORY
        try:
            with path.open(encoding="utf-8", newline="") as stream:
                return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]
        except (OSError, ValueError, TypeError) as problem:
            raise LraError(f"{path} cannot be read ({problem}); train this run again.") from problem


def read_runs(
    paths: Sequence[Path], cell_of: Callable[[Run], Hashable] = lambda run: (run.task, run.attention)
) -> list[Run]:
    """Read the ``metrics.json`` at each path, the runs of a cell in the order of their seeds.

    Args:
        paths: one file a run.
        cell_of: what runs that differ in nothing but the seed share.

    Raises:
        LraError: a file is no run's or was edited, a run is cut short or given twice, or runs that are compared are not
            comparable: seeds of a cell with other settings, code or source, or a task's runs on other data.
    """
    cells: dict[Hashable, list[Run]] = {}
    first_of_task: dict[str, Run] = {}
    for path in paths:
        run = Run(path.parent, _metrics(path))
        cells.setdefault(cell_of(run), []).append(run)
        first = first_of_task.setdefault(run.task, run)
        if run.metrics["data"] != first.metrics["data"]:
            raise LraError(f"{run.folder} and {first.folder} were trained on different data; train the older again.")
    for cell in cells.values():
        cell.sort(key=lambda run: run.metrics["seed"])
        for before, run in itertools.pairwise(cell):
            if run.metrics["seed"] == before.metrics["seed"]:
                raise LraError(f"{before.folder} and {run.folder} are the same task, attention and seed; give one.")
            if _identity(run) != _identity(before):
                raise LraError(
                    f"{before.folder} and {run.folder} have different settings or code, so that their mean means "
                    "nothing; train the older again."
                )
            if _source(run) != _source(before):
                raise LraError(
                    f"{before.folder} and {run.folder} have equal examples from two sources, {_source(before)} and "
                    f"{_source(run)}; `lra clean RUN --yes` the one that config.yaml does not name, and train it again."
                )
    return [run for cell in cells.values() for run in cell]


def _metrics(path: Path) -> dict[str, Any]:
    metrics = read_metrics(path, NEEDED)
    if metrics["status"] == "ok":
        read_metrics(path, RESULTS)
    refuse_foreign_run_files(path.parent, metrics)
    if metrics["max_steps"] is not None:
        raise LraError(
            f"{path.parent} was cut short at {metrics['max_steps']} steps by --max-steps, so that it counts in no "
            "table; delete it and train it in full."
        )
    return metrics


def _identity(run: Run) -> tuple[dict[str, Any], str]:
    settings = {name: value for name, value in run.metrics["settings"].items() if name != "seed"}
    return settings, run.metrics["code"]


def _source(run: Run) -> object:
    """What a row says its data came from; other sources may give equal examples, and so the same ``data``."""
    return (run.metrics.get("data_settings") or {}).get("source")
