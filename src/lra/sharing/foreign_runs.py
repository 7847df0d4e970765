"""Find and check finished runs from elsewhere, and find their place in this arena.

A run's folder may come from an untrusted source. Nothing in it is executed or unpickled, and larger files than
``MAX_BYTES`` allows are not read.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lra import paths
from lra.config.arena import Arena, scales
from lra.config.differences import differences
from lra.config.mapping import from_mapping
from lra.config.pretraining import pretraining
from lra.config.reading import CONFIG
from lra.config.settings import Experiment
from lra.data.shards import read_shards
from lra.errors import LraError
from lra.files import LARGEST_JSON, check_metrics, read_metrics, refuse_foreign_run_files
from lra.fingerprint import fingerprint
from lra.results.choice import tuned_changes
from lra.results.reading import REQUIRED_KEYS, RESULT_KEYS, Run
from lra.training.run_folder import run_key

MAX_BYTES = {
    paths.METRICS: LARGEST_JSON,
    paths.HISTORY: LARGEST_JSON,
    paths.PREDICTIONS: 1 << 28,
    paths.WEIGHTS: 1 << 34,
}
"""Maximum size of each file of a run, in bytes."""
MAX_TEST_ROWS = 10**7
"""Maximum number of test examples."""
FOREIGN_RUN_KEYS = REQUIRED_KEYS | {"key": str, "machine": dict}
"""Keys that the ``metrics.json`` of a run from elsewhere must have, with their types."""
FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""Names that are allowed for folders."""


def find_runs(folder: Path) -> list[Path]:
    """Folders of finished runs at or below ``folder``, pretrainings among them.

    Raises:
        LraError: there are none.
    """
    runs = sorted(path.parent for path in folder.rglob(paths.METRICS))
    if not runs:
        raise LraError(f"{folder} contains no finished run: there is no metrics.json in it or below it.")
    return runs


def is_pretraining(metrics: Mapping[str, Any]) -> bool:
    """Whether a run with these metrics is a pretraining, which has no test accuracy and no row in the table."""
    return metrics["settings"].get("mask") is not None


def read_complete_run(folder: Path) -> Run:
    """Read a run, and check that its files are complete and belong together; only its weights may be missing.

    Raises:
        LraError: a file is missing, too large, edited or a link, or its content is invalid.
    """
    for name in paths.RUN_FILES:
        path = folder / name
        if path.is_symlink():
            raise LraError(f"{path} is a link; copy the file itself.")
        if path.is_file() and path.stat().st_size > MAX_BYTES[name]:
            raise LraError(f"{path} is larger than {MAX_BYTES[name] >> 20} MiB.")
        if not path.is_file() and name != paths.WEIGHTS:
            raise LraError(f"{path} is missing.")
    path = folder / paths.METRICS
    metrics = read_metrics(path, FOREIGN_RUN_KEYS)
    refuse_foreign_run_files(folder, metrics)
    refuse_invalid_metrics(metrics, path)
    run = Run(folder, metrics)
    if run.ok:
        if not is_pretraining(metrics):
            run.predictions()
        if not all(math.isfinite(value) for row in run.history() for value in row.values()):
            raise LraError(f"{folder / paths.HISTORY} contains a value that is not a finite number.")
    return run


def refuse_invalid_metrics(metrics: dict[str, Any], path: Path) -> None:
    """Refuse values of a ``metrics.json`` that no run writes.

    Args:
        metrics: the content, with the keys of ``FOREIGN_RUN_KEYS``.
        path: the file that it was read from, for error messages.

    Raises:
        LraError: settings are invalid; task, attention, seed or key contradict them; a name is not allowed for folders;
            or a number is out of range.
    """
    experiment = from_mapping(Experiment, metrics["settings"], f"{path}: settings")
    task, attention, seed = metrics["task"], metrics["attention"], metrics["seed"]
    if (task, attention, seed) != (experiment.task, experiment.attention.name, experiment.seed):
        raise LraError(f"{path}: task, attention or seed differ from those in its settings.")
    for name in (task, attention):
        if not FOLDER_NAME.fullmatch(name):
            raise LraError(f"{path}: {name!r} is not allowed as the name of a folder.")
    if metrics["key"] != run_key({name: metrics[name] for name in ("settings", "max_steps", "code", "data")}):
        raise LraError(f"{path}: its key does not match its settings, code and data.")
    if metrics["status"] == "ok":
        accuracy = accuracy_name(metrics)
        check_metrics(metrics, {**RESULT_KEYS, "test_accuracy": float | int | None, accuracy: float | int}, path)
        if not (0 < metrics["test_rows"] <= MAX_TEST_ROWS and 0 <= metrics[accuracy] <= 1):
            raise LraError(f"{path}: test_rows or {accuracy} is out of range.")


def accuracy_name(metrics: Mapping[str, Any]) -> str:
    """Key of a run's accuracy; a pretraining is not scored on test."""
    return "dev_accuracy" if is_pretraining(metrics) else "test_accuracy"


@dataclass(frozen=True)
class Place:
    """The place of a run in this arena.

    Attributes:
        scale: the scale whose settings the run has.
        folder: the run's folder in the workflow.
        code: fingerprint of this checkout's code.
        data: checksum of the data prepared here; None if they are not prepared.
        requested: whether `seeds` or `tune` of the configuration lists the run's seed.
        experiment: the run's settings.
        tries: the tries of its cell's learning rate, by the name of their folder; empty without tuning.
    """

    scale: str
    folder: Path
    code: str
    data: str | None
    requested: bool
    experiment: Experiment
    tries: Mapping[str, Experiment]

    @property
    def is_try(self) -> bool:
        """Whether the run is a try of tuning."""
        return self.experiment in self.tries.values()


class Places:
    """The places of runs in an arena, for all scales of its configuration.

    Raises:
        LraError: the configuration is invalid.
    """

    def __init__(self, config: Sequence[str]) -> None:
        self.config = ", ".join(config) or CONFIG
        self.arenas = list(scales(*config))

    def rank(self, metrics: Mapping[str, Any]) -> int:
        """The order of merging: pretrainings, runs with a seed of tuning, other runs.

        A run comes after its pretraining, because Snakemake repeats a run that is older than its inputs. It comes after
        the tries, because the choice says which learning rate a run has.
        """
        if is_pretraining(metrics):
            return 0
        return 1 if metrics["seed"] in {arena.tune.seed for arena in self.arenas if arena.tune} else 2

    def find(self, run: Run) -> Place:
        """The place of a run.

        Raises:
            LraError: no scale has the run's settings; the message names the differences from the nearest scale.
        """
        nearest: tuple[list[str], str] | None = None
        for scaled in self.arenas:
            for folder, experiment in _candidates(scaled, run):
                expected = json.loads(json.dumps(dataclasses.asdict(experiment)))
                different = list(differences(run.metrics["settings"], expected))
                if not different:
                    module = (experiment.attention.module or "").partition(":")[0]
                    code = fingerprint("lra.training.run", module)
                    data = _data_identity(scaled.scale, run.task)
                    tries = scaled.tries(run.attention, run.task)
                    seeds = set(scaled.seeds)
                    if experiment.mask is not None or experiment in tries.values():
                        seeds |= {one.seed for one in tries.values()}
                    return Place(scaled.scale, folder, code, data, experiment.seed in seeds, experiment, tries)
                if nearest is None or len(different) < len(nearest[0]):
                    nearest = different, scaled.scale
        if nearest is None:
            raise LraError(
                f"{self.config} does not list the task {run.task!r} with the attention {run.attention!r}"
                f"{', pretrained' if is_pretraining(run.metrics) else ''}."
            )
        different, scale = nearest
        raise LraError(f"its settings differ from the scale {scale} of {self.config}: {', '.join(different[:5])}.")


def _candidates(arena: Arena, run: Run) -> Iterator[tuple[Path, Experiment]]:
    """Folders and experiments of the arena with the run's task and attention: tries, runs and runs of the sweep.

    A pretraining has no candidate but the pretraining of its seed.
    """
    seed = run.metrics["seed"]
    if is_pretraining(run.metrics):
        if run.task in arena.tasks and run.attention in arena.pretrained:
            experiment = pretraining(arena.experiment(run.attention, run.task, seed))
            yield paths.pretraining(arena.scale, run.task, run.attention, seed), experiment
        return
    if run.task in arena.tasks and run.attention in arena.attentions:
        for name, experiment in arena.tries(run.attention, run.task).items():
            yield paths.tuning(arena.scale, run.task, run.attention) / name, experiment
        folder = paths.run(arena.scale, run.task, run.attention, seed)
        for changes in tuned_changes(arena, run.attention, run.task):
            yield folder, arena.experiment(run.attention, run.task, seed, **changes)
    if (sweep := arena.sweep) and (run.task, run.attention) == (sweep.task, sweep.attention):
        for cell, (batch, rate) in sweep.cells().items():
            folder = paths.swept_run(arena.scale, cell, seed)
            yield folder, arena.experiment(sweep.attention, sweep.task, seed, batch=batch, learning_rate=float(rate))


def _data_identity(scale: str, task: str) -> str | None:
    """Checksum of the prepared data; None if they are not prepared."""
    folder = paths.shards(scale, task)
    return read_shards(folder).identity if (folder / paths.MANIFEST).is_file() else None
