"""The learning rate of a cell, chosen by dev accuracy among short runs, and the record of what was tried.

    lra choose --metrics results/tune/mini/text/softmax/*/metrics.json --out results/tune/mini/text/softmax/choice.json

Nothing here reads a test accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lra.errors import LraError
from lra.files import sealed, write_json
from lra.results.choice import rate_of
from lra.results.reading import Run, read_runs

COPIED = ("status", "reason", "dev_accuracy", "steps", "train_seconds", "key")
"""What the record of a try says besides its learning rate, as its ``metrics.json`` does."""


def choose(metrics: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write which learning rate did best on dev; of several that did, the smallest.

    A try that failed has no accuracy and loses to every other. If all failed, the smallest rate is taken: the runs at
    this rate then are rows of the table with their reason.

    Args:
        metrics: ``metrics.json`` of each short run of one attention on one task.
        out: the JSON file.

    Returns:
        What the file says: ``learning_rate``, and in ``tries`` each rate with its dev accuracy and seconds.

    Raises:
        LraError: a file is damaged, or the runs differ in more than their learning rate.
    """
    runs = sorted(read_runs(metrics, rate_of), key=rate_of)
    first = runs[0]
    if other := next((run for run in runs if _apart_from_rate(run) != _apart_from_rate(first)), None):
        raise LraError(f"{first.folder} and {other.folder} differ in more than their learning rate; train both again.")
    best = max(runs, key=lambda run: run.metrics["dev_accuracy"] if run.ok else -1.0)
    record = sealed(
        {
            "task": first.task,
            "attention": first.attention,
            "learning_rate": rate_of(best),
            "seed": first.metrics["seed"],
            "train_seconds": sum(run.metrics.get("train_seconds") or 0.0 for run in runs),
            "tries": [
                {"learning_rate": rate_of(run), **{name: run.metrics.get(name) for name in COPIED}} for run in runs
            ],
        }
    )
    write_json(out, record)
    return record


def _apart_from_rate(run: Run) -> tuple[Any, ...]:
    settings = run.metrics["settings"]
    train = {name: value for name, value in settings["train"].items() if name != "learning_rate"}
    return settings | {"train": train}, run.metrics["code"], run.metrics["data"]
