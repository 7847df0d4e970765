"""Evaluation of a model: loss, accuracy and predictions for every row of a split."""

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
"""Tokens that pass through the model at once on a CPU, where a lack of memory ends the process."""

BUCKET_BATCHES = 32
"""Batches whose rows are sorted by length and divided into batches again, if ``pad`` is ``bucket``."""

TIMES_TRAINING = 4
"""Rows at once in an evaluation on a GPU as a multiple of those in training, which keeps far more for gradients."""


@dataclass(frozen=True)
class Score:
    """Mean loss and accuracy over a split, and each row's label and prediction (rows,)."""

    loss: float
    accuracy: float
    label: npt.NDArray[np.uint8]
    prediction: npt.NDArray[np.uint8]


def rows_at_once(task: Task, settings: TrainSettings, device: torch.device) -> int:
    """Rows that pass through the model at once in training: ``micro_batch``, or as many as should fit in memory."""
    if settings.micro_batch or device.type != "cpu":
        return min(settings.micro_batch or settings.batch, settings.batch)
    return max(1, min(settings.batch, CPU_TOKENS // (padded_length(task) * task.towers)))


def evaluation_rows(rows: int, device: torch.device) -> int:
    """Rows that pass through the model at once in an evaluation, if training takes ``rows``."""
    return rows if device.type == "cpu" else TIMES_TRAINING * rows


def batches_of(model: Model, shards: Shards, split: Split, rows: int, settings: TrainSettings) -> Batches:
    """The batches of a split, padded as the settings say and the model allows."""
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
        model: the model, on the device.
        shards: the prepared task.
        split: the split to score.
        settings: padding and precision, as in training.
        device: where the model is.
        rows: rows of a batch; by default as many as in the evaluations of training.
        forward: the compiled model; None to run it uncompiled.
        each: called with every batch before the model sees it.
        objective: what the model learns; the task's labels by default.
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
