"""Finished runs of any origin: where they lie, whether they are whole, and which place of this arena they belong to.

A run's folder may come from anyone. Nothing in it is executed or unpickled; its JSON, CSV and Parquet files are read
only up to a size.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lra import paths
from lra.config.arena import Arena, arena
from lra.config.differences import differences
from lra.config.mapping import from_mapping
from lra.config.reading import read_config
from lra.config.settings import Experiment
from lra.data.shards import read_shards
from lra.errors import LraError
from lra.files import LARGEST_JSON, check_metrics, read_json, read_metrics, refuse_foreign_run_files
from lra.fingerprint import fingerprint
from lra.results.choice import tuned_changes
from lra.results.reading import NEEDED, RESULTS, Run
from lra.training.run_folder import run_key

LARGEST = {
    paths.METRICS: LARGEST_JSON,
    paths.HISTORY: LARGEST_JSON,
    paths.PREDICTIONS: 1 << 28,
    paths.WEIGHTS: 1 << 34,
}
"""Bytes of a run's file at most."""
MOST_ROWS = 10**7
"""Test examples at most."""
NEEDED_HERE = NEEDED | {"key": str, "machine": dict}
"""What the ``metrics.json`` of a run from elsewhere must say."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""A name that may become a folder's."""


def find_runs(folder: Path) -> list[Path]:
    """Folders of finished runs at or below ``folder``.

    Raises:
        LraError: there is none.
    """
    found = sorted(path.parent for path in folder.rglob(paths.METRICS) if not _pretrains(path))
    if not found:
        raise LraError(f"{folder} holds no finished run: no metrics.json is in it or below it.")
    return found


def _pretrains(metrics: Path) -> bool:
    """Whether the run is a pretraining, which gives no row: whoever wants its weights trains it anew."""
    with contextlib.suppress(LraError, AttributeError):
        return read_json(metrics).get("settings", {}).get("mask") is not None
    return False


def read_whole(folder: Path) -> Run:
    """A run whose files are all there and belong together; only its weights may be missing.

    Raises:
        LraError: it is not whole, was edited, or is what no run can be.
    """
    for name in paths.RUN_FILES:
        path = folder / name
        if path.is_symlink():
            raise LraError(f"{path} is a link; copy the file itself.")
        if path.is_file() and path.stat().st_size > LARGEST[name]:
            raise LraError(f"{path} is larger than {LARGEST[name] >> 20} MiB.")
        if not path.is_file() and name != paths.WEIGHTS:
            raise LraError(f"{path} is missing.")
    path = folder / paths.METRICS
    metrics = read_metrics(path, NEEDED_HERE)
    refuse_foreign_run_files(folder, metrics)
    refuse_impossible(metrics, path)
    run = Run(folder, metrics)
    if run.ok:
        run.predictions()
        if not all(math.isfinite(value) for row in run.history() for value in row.values()):
            raise LraError(f"{folder / paths.HISTORY} holds what is no number.")
    return run


def refuse_impossible(metrics: dict[str, Any], path: Path) -> None:
    """Refuse what no run can say in its ``metrics.json``.

    Args:
        metrics: the content, which has what ``NEEDED_HERE`` names.
        path: the file that it was read from.

    Raises:
        LraError: settings, names, key or accuracy are not a run's.
    """
    experiment = from_mapping(Experiment, metrics["settings"], f"{path}: settings")
    told = (metrics["task"], metrics["attention"], metrics["seed"])
    if told != (experiment.task, experiment.attention.name, experiment.seed):
        raise LraError(f"{path}: task, attention or seed are not those of its settings.")
    for name in told[:2]:
        if not NAME.fullmatch(name):
            raise LraError(f"{path}: {name!r} cannot be the name of a folder.")
    if metrics["key"] != run_key({name: metrics[name] for name in ("settings", "max_steps", "code", "data")}):
        raise LraError(f"{path}: its key is not that of its settings, code and data.")
    if experiment.mask is not None:
        raise LraError(f"{path.parent} holds a pretraining, which no table counts; leave it out.")
    if metrics["status"] == "ok":
        check_metrics(metrics, RESULTS, path)
        if not (0 < metrics["test_rows"] <= MOST_ROWS and 0 <= metrics["test_accuracy"] <= 1):
            raise LraError(f"{path}: test_rows or test_accuracy is no number that a run can have.")


@dataclass(frozen=True)
class Place:
    """Where the workflow wants a run.

    Attributes:
        scale: the scale whose settings it has.
        folder: its folder.
        code: fingerprint of the code as it is here.
        data: identity of the data as they are prepared here; None where they are not.
        asked: whether `seeds` or `tune` of the configuration has its seed.
    """

    scale: str
    folder: Path
    code: str
    data: str | None
    asked: bool


class Places:
    """The runs that a configuration's scales can ask for.

    Raises:
        LraError: the configuration is wrong.
    """

    def __init__(self, config: Path) -> None:
        content = read_config(config)
        arena(content, config.parent)
        self.config = config
        self.arenas: list[Arena] = []
        for scale, block in content["scales"].items():
            if tasks := [task for task in content["tasks"] if task in block["tasks"]]:
                self.arenas.append(arena({**content, "scale": scale, "tasks": tasks}, config.parent))

    def of(self, run: Run) -> Place:
        """Where a run belongs.

        Raises:
            LraError: no scale asks for such a run; says which settings differ from those of the nearest scale.
        """
        best: tuple[list[str], str] | None = None
        for chosen in self.arenas:
            for folder, experiment in _candidates(chosen, run):
                wanted = json.loads(json.dumps(dataclasses.asdict(experiment)))
                different = list(differences(run.metrics["settings"], wanted))
                if not different:
                    module = (experiment.attention.module or "").partition(":")[0]
                    code = fingerprint("lra.training.run", module)
                    asked = (
                        experiment.seed in chosen.seeds or experiment in chosen.tries(run.attention, run.task).values()
                    )
                    return Place(chosen.scale, folder, code, _prepared(chosen.scale, run.task), asked)
                if best is None or len(different) < len(best[0]):
                    best = different, chosen.scale
        if best is None:
            raise LraError(f"{self.config} does not list the task {run.task!r} with the attention {run.attention!r}.")
        raise LraError(f"it has other settings than the scale {best[1]} of {self.config}: {', '.join(best[0][:5])}.")


def _candidates(chosen: Arena, run: Run) -> Iterator[tuple[Path, Experiment]]:
    seed = run.metrics["seed"]
    if run.task in chosen.tasks and run.attention in chosen.attentions:
        for name, tried in chosen.tries(run.attention, run.task).items():
            yield paths.tuning(chosen.scale, run.task, run.attention) / name, tried
        folder = paths.run(chosen.scale, run.task, run.attention, seed)
        for changes in tuned_changes(chosen, run.attention, run.task):
            yield folder, chosen.experiment(run.attention, run.task, seed, **changes)
    if (sweep := chosen.sweep) and (run.task, run.attention) == (sweep.task, sweep.attention):
        for cell, (batch, rate) in sweep.cells().items():
            folder = paths.swept_run(chosen.scale, cell, seed)
            yield folder, chosen.experiment(sweep.attention, sweep.task, seed, batch=batch, learning_rate=float(rate))


def _prepared(scale: str, task: str) -> str | None:
    folder = paths.shards(scale, task)
    return read_shards(folder).identity if (folder / paths.MANIFEST).is_file() else None
