"""The objective of a run: the labels of its task or, in pretraining, tokens that are hidden from the model."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lra.config.settings import Experiment
from lra.data.batches import Batch
from lra.model import Model, TokenModel, build_model, of_one_length
from lra.tasks.contract import Task
from lra.training.run_folder import load_encoder

IGNORED = -100
"""Label of a token that need not be predicted; cross-entropy leaves it out."""
TRAINING, EVALUATION = 0, 1
"""Streams of random numbers: evaluations hide tokens independently of training steps."""


class Labels:
    """Learn the task's labels.

    Args:
        start: folder of the pretraining whose weights training starts from; None for random weights.
    """

    tested = True
    """Whether the best weights are scored on the test split."""

    def __init__(self, start: Path | None = None) -> None:
        self.start = start

    def build(self, task: Task, experiment: Experiment) -> Model:
        """The model, with the weights from which training starts.

        Raises:
            LraError: the weights of the pretraining cannot be read.
        """
        model = build_model(task, experiment.model, experiment.attention)
        if self.start:
            load_encoder(model, self.start)
        return model

    def classes(self, task: Task) -> int:
        """Number of classes among which the model chooses."""
        return task.classes

    def pose(self, batches: Iterator[Batch], stream: int, start: int = 0) -> Generator[Batch, None, None]:
        """The batches as the model sees them. The first of them is number ``start`` of the stream."""
        yield from batches

    def asked(self, batch: Batch) -> int | Tensor:
        """Number of predictions that a batch asks for."""
        return len(batch)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy, summed over the predictions that are asked for."""
        return cross_entropy(logits, label, reduction="sum")

    def answers(self, logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (predictions, classes) and labels (predictions,) of the predictions that are asked for."""
        return logits, label


class HiddenTokens(Labels):
    """Learn to predict hidden tokens (Amos et al. 2023, arXiv 2310.02980; Devlin et al. 2019, BERT, arXiv 1810.04805).

    Each real token is hidden with probability ``share``, and only hidden tokens are predicted. The seed and the number
    of the batch decide which, so a run that resumes from a checkpoint hides the same tokens.

    Args:
        share: probability that a token is hidden.
        vocabulary: number of token ids; a hidden token gets the next free id, ``vocabulary``.
        seed: seed of the run.
    """

    tested = False

    def __init__(self, share: float, vocabulary: int, seed: int) -> None:
        super().__init__()
        self.share, self.vocabulary, self.seed = share, vocabulary, seed

    def build(self, task: Task, experiment: Experiment) -> Model:
        return build_model(task, experiment.model, experiment.attention, TokenModel)

    def classes(self, task: Task) -> int:
        return self.vocabulary

    def pose(self, batches: Iterator[Batch], stream: int, start: int = 0) -> Generator[Batch, None, None]:
        """Hide tokens. Labels are (batch, towers * length): the token at hidden positions, ``IGNORED`` elsewhere."""
        for number, batch in enumerate(batches, start):
            tokens, mask = torch.stack(of_one_length(batch.tokens)), torch.stack(of_one_length(batch.mask))
            drawn = np.random.default_rng([self.seed, stream, number]).random(tokens.shape, np.float32)
            hidden = (torch.from_numpy(drawn) < self.share).to(mask.device) & mask  # (towers, batch, length)
            label = tokens.long().masked_fill(~hidden, IGNORED).transpose(0, 1).flatten(1)
            yield Batch(tuple(tokens.masked_fill(hidden, self.vocabulary)), tuple(mask), label)

    def asked(self, batch: Batch) -> int | Tensor:
        return (batch.label != IGNORED).sum().clamp(min=1)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        return cross_entropy(logits.flatten(0, 1), label.flatten(), reduction="sum", ignore_index=IGNORED)

    def answers(self, logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        hidden = label != IGNORED
        return logits[hidden], label[hidden]
