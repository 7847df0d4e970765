"""How good a model is: loss, accuracy and predictions of a whole split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lra.config.settings import TrainSettings
from lra.data.batches import Batch
from lra.training.optim import autocast


@dataclass(frozen=True)
class Score:
    """An evaluation of a whole split: mean loss, accuracy, and each row's label and prediction (rows,)."""

    loss: float
    accuracy: float
    label: npt.NDArray[np.uint8]
    prediction: npt.NDArray[np.uint8]


@torch.no_grad()
def score(
    forward: Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor],
    batches: Iterator[Batch],
    settings: TrainSettings,
    device: torch.device,
) -> Score:
    """Score a model in evaluation mode on batches that hold every row once."""
    losses, labels, predictions = [], [], []
    for batch in batches:
        moved = batch.to(device)
        with autocast(settings, device):
            logits = forward(moved.tokens, moved.mask).float()
        losses.append(cross_entropy(logits, moved.label, reduction="sum"))
        predictions.append(logits.argmax(-1))
        labels.append(batch.label)
    label = torch.cat(labels).numpy().astype(np.uint8)
    prediction = torch.cat(predictions).cpu().numpy().astype(np.uint8)
    return Score(float(torch.stack(losses).sum()) / len(label), float((label == prediction).mean()), label, prediction)
