"""The record of how a cell's learning rate was chosen. Light, since the Snakefile reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lra import paths
from lra.config.arena import Arena
from lra.errors import LraError
from lra.files import checksum, read_json

if TYPE_CHECKING:
    from lra.results.reading import Run

NEEDED = ("task", "attention", "learning_rate", "tries", "train_seconds")
"""What a record says at least."""


def read_choice(path: Path) -> dict[str, Any]:
    """What :func:`lra.results.choosing.choose` wrote.

    Raises:
        LraError: it is missing, no such file, or was edited by hand.
    """
    record = read_json(path)
    if not isinstance(record, dict) or not set(NEEDED) <= set(record) or record.get("checksum") != checksum(record):
        raise LraError(f"{path} is not what `lra choose` wrote; delete it and make it again.")
    return record


def tuned_changes(arena: Arena, attention: str, task: str) -> list[dict[str, float]]:
    """How a cell's training may differ from the task's settings.

    Returns:
        The learning rate that was chosen for the cell; every rate that is tried, as long as none is chosen; one empty
        change where nothing is tuned.

    Raises:
        LraError: the record of the choice is damaged.
    """
    if arena.tune is None:
        return [{}]
    path = paths.choice(arena.scale, task, attention)
    rates = [read_choice(path)["learning_rate"]] if path.is_file() else arena.tune.learning_rate
    return [{"learning_rate": rate} for rate in rates]


def tuning_columns(
    records: Sequence[Path], cells: Mapping[tuple[str, str], Sequence[Run]]
) -> dict[Any, dict[str, Any]]:
    """Columns of the table that say how often a cell was tuned, by task and attention.

    Args:
        records: files that :func:`lra.results.choosing.choose` wrote.
        cells: the runs of each cell.

    Raises:
        LraError: a file is damaged, or a cell's runs have another learning rate than the one that was chosen.
    """
    columns = {}
    for path in records:
        record = read_choice(path)
        cell = record["task"], record["attention"]
        for run in cells.get(cell, ()):
            if rate_of(run) != record["learning_rate"]:
                raise LraError(
                    f"{run.folder} was trained at a learning rate of {rate_of(run)}, but {path} chose "
                    f"{record['learning_rate']}; train this run again."
                )
        columns[cell] = {"tuned": len(record["tries"]), "tuning_seconds": record["train_seconds"]}
    return columns


def rate_of(run: Run) -> float:
    """The peak learning rate of a run."""
    return float(run.metrics["settings"]["train"]["learning_rate"])
