"""Choose the learning rate of a cell by the dev accuracy of short runs, and record all tries.

    lra choose --metrics results/tune/mini/text/softmax/*/metrics.json --out results/tune/mini/text/softmax/choice.json

The choice never uses test accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lra.errors import LraError
from lra.files import sealed, write_json
from lra.results.choice import rate_of
from lra.results.reading import Run, read_runs

COPIED_KEYS = ("status", "reason", "dev_accuracy", "steps", "train_seconds", "key")
"""Keys that the record of a try copies from its ``metrics.json``."""


def choose(metrics: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write the learning rate with the highest dev accuracy; if several tie, the smallest of them.

    A failed try loses to every finished one. If all tries failed, the smallest rate is chosen; if the cell's runs then
    fail too, the table gives the reason.

    Args:
        metrics: ``metrics.json`` of each short run of one attention on one task.
        out: the JSON file to write.

    Returns:
        The file's content: ``learning_rate``, and in ``tries`` each rate with its dev accuracy and seconds.

    Raises:
        LraError: a file is damaged, or the runs differ in more than their learning rate.
    """
    runs = sorted(read_runs(metrics, rate_of), key=rate_of)
    first = runs[0]
    if other := next((run for run in runs if _without_rate(run) != _without_rate(first)), None):
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
                {"learning_rate": rate_of(run), **{name: run.metrics.get(name) for name in COPIED_KEYS}} for run in runs
            ],
        }
    )
    write_json(out, record)
    return record


def _without_rate(run: Run) -> tuple[Any, ...]:
    """Settings other than the learning rate, code and data: the same for all tries of a cell."""
    settings = run.metrics["settings"]
    train = {name: value for name, value in settings["train"].items() if name != "learning_rate"}
    return settings | {"train": train}, run.metrics["code"], run.metrics["data"]
