"""Read finished runs, and refuse to average or compare runs that do not belong together."""

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

REQUIRED_KEYS = {
    "status": str, "reason": str, "task": str, "attention": str, "seed": int, "settings": dict, "code": str,
    "data": str, "test_accuracy": float | int | None, "majority_accuracy": float | int, "test_rows": int,
    "max_steps": int | None,
}  # fmt: skip
"""Keys that the ``metrics.json`` of every run must have, with their types."""
RESULT_KEYS = {"test_accuracy": float | int, "train_seconds": float | int, "steps": int}
"""Keys that a run with the status ``ok`` must have too, with their types."""


@dataclass(frozen=True)
class Run:
    """A run's folder and its ``metrics.json``."""

    folder: Path
    metrics: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether the run finished with a result."""
        return bool(self.metrics["status"] == "ok")

    @property
    def task(self) -> str:
        return str(self.metrics["task"])

    @property
    def attention(self) -> str:
        return str(self.metrics["attention"])

    def predictions(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Labels and predictions of the test examples, two arrays of shape (examples,) and dtype uint8.

        Raises:
            LraError: the file is damaged, or does not match the run's ``metrics.json``.
        """
        path = self.folder / paths.PREDICTIONS
        foreign = LraError(f"{path} does not match the metrics.json in its folder; train this run again.")
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
        """One row per evaluation on dev, with the columns of ``lra.training.run.HISTORY``.

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
    """Read runs, ordered by cell and within a cell by seed.

    Args:
        paths: ``metrics.json`` of each run.
        cell_of: key of a run's cell; the runs of a cell may differ in the seed only.

    Raises:
        LraError: a file is not the metrics of a run or was edited; a run was cut short or is given twice; the runs of a
            cell differ in settings, code or data source; or the runs of a task differ in data.
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
                    f"{before.folder} and {run.folder} have different settings or code, so they cannot be averaged; "
                    "train the older again."
                )
            if _source(run) != _source(before):
                raise LraError(
                    f"{before.folder} and {run.folder} have equal examples from two sources, {_source(before)} and "
                    f"{_source(run)}; remove the run whose source config.yaml does not name by `lra clean RUN --yes`, "
                    "and train it again."
                )
    return [run for cell in cells.values() for run in cell]


def _metrics(path: Path) -> dict[str, Any]:
    metrics = read_metrics(path, REQUIRED_KEYS)
    if metrics["status"] == "ok":
        read_metrics(path, RESULT_KEYS)
    refuse_foreign_run_files(path.parent, metrics)
    place = Path(metrics["task"], metrics["attention"], paths.seed_name(metrics["seed"]))
    if path.is_relative_to(paths.RUNS) and path.parent.parts[-3:] != place.parts:
        raise LraError(f"{path.parent} holds the run of {place}; delete it, and it is made again.")
    if metrics["max_steps"] is not None:
        raise LraError(
            f"{path.parent} was cut short at {metrics['max_steps']} steps by --max-steps, so it cannot enter a "
            "table; delete it and train it in full."
        )
    return metrics


def _identity(run: Run) -> tuple[dict[str, Any], str]:
    settings = {name: value for name, value in run.metrics["settings"].items() if name != "seed"}
    return settings, run.metrics["code"]


def _source(run: Run) -> object:
    """Name of the data source. Two sources can have equal examples and thus the same ``data`` checksum."""
    return (run.metrics.get("data_settings") or {}).get("source")
