"""How good a model is: loss, accuracy and predictions of a whole split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lra.config.settings import TrainSettings
from lra.data.batches import Batch, Batches
from lra.data.prefetch import ready
from lra.data.shards import Shards
from lra.model import Model, padded_length, trims
from lra.tasks.contract import Split, Task
from lra.training.objective import EVALUATION, Labels
from lra.training.optim import autocast

CPU_TOKENS = 1 << 16
"""Tokens that pass through the model at once on a CPU, where running out of memory cannot be caught."""

BUCKET_BATCHES = 32
"""Batches that share their rows out by length where ``pad`` is ``bucket``."""

TIMES_TRAINING = 4
"""Rows of an evaluation's batch on a GPU through those of a training step, which keeps far more for its gradients."""


@dataclass(frozen=True)
class Score:
    """An evaluation of a whole split: mean loss, accuracy, and each row's label and prediction (rows,)."""

    loss: float
    accuracy: float
    label: npt.NDArray[np.uint8]
    prediction: npt.NDArray[np.uint8]


def rows_at_once(task: Task, settings: TrainSettings, device: torch.device) -> int:
    """Rows that pass through the model together in training: ``micro_batch``, or as many as may fit."""
    if settings.micro_batch or device.type != "cpu":
        return min(settings.micro_batch or settings.batch, settings.batch)
    return max(1, min(settings.batch, CPU_TOKENS // (padded_length(task) * task.towers)))


def evaluation_rows(rows: int, device: torch.device) -> int:
    """Rows that pass through the model together in an evaluation, where training takes ``rows``."""
    return rows if device.type == "cpu" else TIMES_TRAINING * rows


def batches_of(model: Model, shards: Shards, split: Split, rows: int, settings: TrainSettings) -> Batches:
    """The batches of a split, padded as settings and model have it."""
    window = BUCKET_BATCHES if settings.pad == "bucket" else 1
    length = padded_length(shards.task)
    return Batches(shards, split, rows, length, trim=trims(model, settings.pad), window=window)


@torch.no_grad()
def evaluate(
    model: Model,
    shards: Shards,
    split: Split,
    settings: TrainSettings,
    device: torch.device,
    *,
    rows: int | None = None,
    forward: Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor] | None = None,
    each: Callable[[Batch], Batch] = lambda batch: batch,
    objective: Labels | None = None,
) -> Score:
    """Score every row of a split, and leave the model in evaluation mode.

    Args:
        model: on the device.
        shards: the prepared task.
        split: of it.
        settings: how the model was trained: padding and precision.
        device: where.
        rows: of a batch; by default as many as when the model was trained.
        forward: the model compiled.
        each: sees every batch before the model does.
        objective: what the model learns; the labels by default.
    """
    model.eval()
    objective = objective or Labels()
    rows = rows or evaluation_rows(rows_at_once(shards.task, settings, device), device)
    losses, labels, predictions = [], [], []
    posed = objective.pose(batches_of(model, shards, split, rows, settings).in_order(), EVALUATION)
    with ready(posed, device) as batches:
        for batch in map(each, batches):
            moved = batch.to(device)
            with autocast(settings, device):
                logits = (forward or model)(moved.tokens, moved.mask).float()
            losses.append(objective.loss(logits, moved.label))
            answered, asked = objective.answers(logits, moved.label)
            predictions.append(answered.argmax(-1))
            labels.append(asked)
    label, prediction = (torch.cat(parts).cpu().numpy() for parts in (labels, predictions))
    loss, accuracy = float(torch.stack(losses).sum()) / len(label), float((label == prediction).mean())
    return Score(loss, accuracy, label.astype(np.uint8), prediction.astype(np.uint8))
