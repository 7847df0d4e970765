"""Read ``choice.json``, the record of a cell's chosen learning rate.

The Snakefile imports this module, so it must not load heavy packages.
"""

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

REQUIRED_KEYS = ("task", "attention", "learning_rate", "tries", "train_seconds")
"""Keys that each record has."""


def read_choice(path: Path) -> dict[str, Any]:
    """Read a record that :func:`lra.results.choosing.choose` wrote.

    Raises:
        LraError: the file is missing, is no such record, or was edited by hand.
    """
    record = read_json(path)
    complete = isinstance(record, dict) and set(REQUIRED_KEYS) <= set(record)
    if not complete or record.get("checksum") != checksum(record):
        raise LraError(f"{path} was edited or was not written by `lra choose`; delete it, and make it again.")
    return dict(record)


def tuned_changes(arena: Arena, attention: str, task: str) -> list[dict[str, float]]:
    """Changes of the task's training settings that a run of the cell may have.

    Returns:
        One change with the chosen learning rate; before the choice, one for each rate to try; without tuning, one
        empty change.

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
    """The table's columns on tuning, by task and attention: the number of tries and their training time.

    Args:
        records: files that :func:`lra.results.choosing.choose` wrote.
        cells: runs of each cell, by task and attention.

    Raises:
        LraError: a file is damaged, or a run does not have the chosen learning rate.
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
