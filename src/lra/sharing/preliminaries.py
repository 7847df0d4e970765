"""What came before a published run: its pretraining, and the tries that chose its learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from lra import paths
from lra.config.mapping import from_mapping
from lra.config.pretraining import pretraining
from lra.config.settings import Experiment
from lra.errors import LraError
from lra.results.choice import read_choice
from lra.sharing.foreign_runs import Place
from lra.training.run_folder import made_of, run_key

Key = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]
Accuracy = Annotated[float, Field(ge=0, le=1)]
Status = Literal["ok", "diverged", "oom", "failed"]


@dataclass(frozen=True)
class Pretraining:
    """The entry ``pretraining`` of a run's metrics, see :func:`lra.training.run_folder.read_start`."""

    weights: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    key: Key
    status: Literal["ok"]
    reason: Annotated[str, Field(max_length=0)]
    steps: Count
    train_seconds: Seconds
    dev_accuracy: Accuracy


@dataclass(frozen=True)
class Try:
    """A short run at one learning rate. ``key`` is a digest of its settings, code and data."""

    learning_rate: Annotated[float, Field(gt=0)]
    key: Key
    status: Status
    dev_accuracy: Accuracy | None
    steps: Count | None
    train_seconds: Seconds | None


@dataclass(frozen=True)
class Tuning:
    """How the learning rate of a run was chosen."""

    seed: Count
    steps: Annotated[int, Field(ge=1)]
    """Steps of a try, by its settings."""
    train_seconds: Seconds
    """Training time of all tries."""
    tries: Annotated[tuple[Try, ...], Field(min_length=1, max_length=1000)]

    def best(self) -> Try:
        """The try that :func:`lra.results.choosing.choose` prefers."""
        return min(
            self.tries, key=lambda one: (-(one.dev_accuracy or 0) if one.status == "ok" else 1, one.learning_rate)
        )

    def protocol(self) -> tuple[Any, ...]:
        """Seed, steps and learning rates: the same for all seeds of a cell."""
        return self.seed, self.steps, sorted(one.learning_rate for one in self.tries)


def read_tuning(place: Place) -> Tuning | None:
    """How the learning rate of a place's runs was chosen here; None if its scale does not tune.

    Raises:
        LraError: the record of the choice is missing or damaged.
    """
    if not place.tries:
        return None
    path = paths.choice(place.scale, place.experiment.task, place.experiment.attention.name)
    if not path.is_file():
        raise LraError(f"{path} is missing, although the scale {place.scale} has `tune`; `snakemake {path}` makes it.")
    record = read_choice(path)
    names = ("learning_rate", "key", "status", "dev_accuracy", "steps", "train_seconds")
    return from_mapping(
        Tuning,
        {
            "seed": record["seed"],
            "steps": next(iter(place.tries.values())).train.steps,
            "train_seconds": record["train_seconds"],
            "tries": [{name: one.get(name) for name in names} for one in record["tries"]],
        },
        str(path),
    )


def refuse_other_tuning(tuning: Tuning | None, metrics: Mapping[str, Any], place: Place, path: Path) -> None:
    """Refuse tries other than those that the settings of this arena ask for, with the code and data of the run.

    Args:
        tuning: how the run's learning rate was chosen; None if it was not tuned.
        metrics: metrics of the run.
        place: the run's place in this arena.
        path: the run's folder or publication, for error messages.

    Raises:
        LraError: the tries differ, the run itself is one, or it was tuned and this arena does not tune, or the reverse.
    """
    if place.is_try:
        raise LraError(f"{path} is a try of tuning; publish runs whose learning rate it helped to choose.")
    expected = {}
    for one in place.tries.values():
        key = run_key(made_of(one, metrics["code"], metrics["data"], None))
        expected[key] = one.seed, one.train.steps, one.train.learning_rate
    tried = {one.key: (tuning.seed, tuning.steps, one.learning_rate) for one in tuning.tries} if tuning else {}
    if tried != expected:
        raise LraError(
            f"{path}: its learning rate comes from {len(tried)} tries that are not the {len(expected)} of `tune` at "
            f"the scale {place.scale}, with the run's code and data; tune and train this cell again."
        )


def refuse_contradictory_tuning(tuning: Tuning | None, metrics: Mapping[str, Any], path: Path) -> None:
    """Refuse a record of tuning that contradicts itself or the run's learning rate.

    Raises:
        LraError: the run does not have the rate of the best try, or the seconds of the tries have another sum.
    """
    if tuning is None:
        return
    if tuning.best().learning_rate != metrics["settings"]["train"]["learning_rate"]:
        raise LraError(f"{path}: its learning rate is not the best of its tries.")
    seconds = sum(one.train_seconds or 0.0 for one in tuning.tries)
    if not math.isclose(seconds, tuning.train_seconds, rel_tol=1e-6, abs_tol=1e-6):
        raise LraError(f"{path}: the seconds of its tries have another sum than the seconds of its tuning.")


def refuse_other_pretraining(metrics: Mapping[str, Any], path: Path) -> None:
    """Refuse a run that did not start from the pretraining that its settings, code and data determine.

    Raises:
        LraError: the entry ``pretraining`` of the metrics is invalid, or another than its settings determine.
    """
    experiment = from_mapping(Experiment, metrics["settings"], f"{path}: settings")
    start = metrics.get("pretraining")
    key = None if start is None else from_mapping(Pretraining, start, f"{path}: pretraining").key
    first = pretraining(experiment) if experiment.pretrain else None
    if key != (run_key(made_of(first, metrics["code"], metrics["data"], None)) if first else None):
        raise LraError(f"{path}: it did not start from the pretraining of its settings, code and data; train it again.")
