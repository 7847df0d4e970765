"""Trainers on random rows of a task's true size, in bfloat16 as at the scale paper."""

from __future__ import annotations

from pathlib import Path

import torch
from made_up import TRUE_SIZE

from lra.attention.registry import METHODS
from lra.config.settings import AttentionSettings, Experiment, ModelSettings, TrainSettings
from lra.data.shards import Shards
from lra.data.synthetic import describe, random_shards
from lra.tasks.contract import Rows, Task
from lra.training.checkpoint import Checkpoints
from lra.training.trainer import Trainer


def shards_of(task: str, longest: int, rows: int, folder: Path) -> Shards:
    """Random rows of a task, cut at ``longest`` tokens."""
    whole = describe(task, TRUE_SIZE[task]["data"])
    cut = Task(whole.name, whole.classes, whole.vocabulary, min(longest, whole.max_length), whole.towers)
    return random_shards(cut, Rows(train=rows, dev=rows, test=rows), folder)


def trainer(shards: Shards, attention: str, device: torch.device, checkpoints: Path, **train: object) -> Trainer:
    """A run of a method with the paper's model; ``train`` are its settings."""
    settings = {"learning_rate": 1e-3, "warmup": 2, "steps": 100, "evaluate_every": 100, "precision": "bf16"} | train
    method = AttentionSettings(attention, 256, METHODS[attention].options)
    experiment = Experiment(shards.task.name, method, 1, ModelSettings(), TrainSettings(**settings))  # type: ignore[arg-type]
    return Trainer(experiment, shards, device, Checkpoints(checkpoints, "gpu"))


def refuse_other_rows(*micro_batches: int) -> None:
    """Raise if memory did not allow all runs the same micro-batch: another one rounds in another way."""
    if len(set(micro_batches)) > 1:
        raise MemoryError(f"the GPU has too little memory to compare runs: micro-batches of {micro_batches} rows")
