"""Checks of a resolved configuration whose keys are valid one by one, but contradict each other or the disk."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from lra.errors import LraError

if TYPE_CHECKING:
    from lra.config.arena import Arena


CHOOSES_ROWS = ("vader", "sklearn_digits")
"""Sources that choose as many rows as the settings ask for."""


def check_consistency(arena: Arena) -> None:
    """Refuse a configuration whose keys contradict each other.

    Raises:
        LraError: one sentence that names the key, the value and what is allowed.
    """
    where = f"scales.{arena.scale}"
    _check_rules(arena)
    _check_tuning(arena, f"{where}.tune")
    for task in arena.tasks:
        _check_source(arena, task)
        _check_rows(arena, task, f"{where}.tasks.{task}")
        _check_warmup(arena, task, f"{where}.tasks.{task}")
        sizes = arena.experiment(next(iter(arena.attentions)), task, seed=0).model
        if sizes.positions == "rotary" and sizes.head_dim % 2:
            raise LraError(
                f"{where}: the model of {task} has a `head_dim` of {sizes.head_dim}; rotary positions turn pairs, so "
                "make it even."
            )


def _check_rules(arena: Arena) -> None:
    """Refuse two cells whose training rules would have the same name, because it joins attention and task."""
    rules: dict[str, str] = {}
    for task, attention in itertools.product(arena.tasks, arena.attentions):
        for rule in (f"train_{attention}_{task}", f"train_{attention}_{task}_seed"):
            cell = f"{attention} on {task}"
            if rule in rules:
                raise LraError(
                    f"tasks: the rule {rule} would be both for {rules[rule]} and for {cell}; give a task "
                    "or an attention of your own another name."
                )
            rules[rule] = cell


def _check_tuning(arena: Arena, where: str) -> None:
    """Refuse to tune with a seed of the final runs, or with more steps than these have."""
    if arena.tune is None:
        return
    if arena.tune.seed in arena.seeds:
        raise LraError(
            f"{where}.seed: {arena.tune.seed} is one of `seeds`, whose runs must not choose their own learning rate; "
            "give another seed."
        )
    for task in arena.tasks:
        steps = arena.settings["tasks"][task]["train"]["steps"]
        if arena.tune.steps > steps:
            raise LraError(f"{where}.steps: {arena.tune.steps} is more than the {steps} steps of {task}; give fewer.")


def _check_source(arena: Arena, task: str) -> None:
    """Refuse a missing local path before any work, unless the artefact has another source."""
    artefact = arena.artefact(task)
    sources = arena.sources[artefact] if artefact else []
    missing = [s["path"] for s in sources if "path" in s and not Path(s["path"]).expanduser().exists()]
    if missing and len(missing) == len(sources):
        raise LraError(f"sources.{artefact}: the path {missing[0]!r} is not there; correct it.")


def _check_rows(arena: Arena, task: str, where: str) -> None:
    """Refuse data settings that lack the number of rows, give too few for a batch, or contradict each other."""
    data, train = arena.data(task), arena.settings["tasks"][task]["train"]
    source = data.get("source")
    rows = data.get("rows") or (data.get("expected_rows") if source not in CHOOSES_ROWS else None)
    if source in {*CHOOSES_ROWS, "generate"} and not rows:
        raise LraError(f"{where}.data.rows: `source: {source}` needs `rows: {{train: ..., dev: ..., test: ...}}`.")
    if rows and train["batch"] > rows["train"]:
        raise LraError(f"{where}.train.batch: {train['batch']} is more than the {rows['train']} training rows.")
    if data.get("split") == "lra" and source != "pathfinder_tfds":
        raise LraError(
            f"{where}.data.split: `lra` follows the order of `source: pathfinder_tfds`; use it, or `seeded`."
        )


def _check_warmup(arena: Arena, task: str, where: str) -> None:
    """Refuse a warm-up that no step follows, in training and in the pretraining of an attention."""
    train = arena.settings["tasks"][task]["train"]
    if train["warmup"] >= train["steps"]:
        raise LraError(f"{where}.train.warmup: {train['warmup']} must be less than steps, which is {train['steps']}.")
    for attention in arena.pretrained:
        pretrain = arena.experiment(attention, task, seed=0).pretrain
        if pretrain and pretrain.warmup >= pretrain.steps:
            raise LraError(
                f"{where}.pretrain.warmup: {pretrain.warmup} must be less than steps, which is {pretrain.steps}."
            )
