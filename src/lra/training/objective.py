"""What a run learns: the labels of its task, or, to pretrain, tokens that are hidden from it."""

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
"""The label of a token that is not asked for; cross-entropy leaves it out."""
TRAINING, EVALUATION = 0, 1
"""Streams of random numbers: no evaluation hides what a step has hidden."""


class Labels:
    """The task's labels.

    Args:
        start: folder of the pretraining whose weights training starts from; None for random weights.
    """

    tested = True
    """Whether the best weights are scored on the test split."""

    def __init__(self, start: Path | None = None) -> None:
        self.start = start

    def build(self, task: Task, experiment: Experiment) -> Model:
        """The model, with the weights that training starts from.

        Raises:
            LraError: those of the pretraining cannot be read.
        """
        model = build_model(task, experiment.model, experiment.attention)
        if self.start:
            load_encoder(model, self.start)
        return model

    def classes(self, task: Task) -> int:
        """Among how many the model chooses."""
        return task.classes

    def pose(self, batches: Iterator[Batch], stream: int, start: int = 0) -> Generator[Batch, None, None]:
        """The batches as the model gets them; the first is the batch ``start`` of the ``stream``."""
        yield from batches

    def asked(self, batch: Batch) -> int | Tensor:
        """How many answers a batch asks for."""
        return len(batch)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy summed over the answers."""
        return cross_entropy(logits, label, reduction="sum")

    def answers(self, logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (answers, classes) and label (answers,) of what is asked for."""
        return logits, label


class HiddenTokens(Labels):
    """Masked-token prediction (Amos et al. 2023, arXiv 2310.02980; Devlin et al. 2019, BERT, arXiv 1810.04805).

    Each real token is hidden with probability ``share``, and only hidden ones are predicted. What is hidden follows
    from the seed and the batch's number alone, so that a run which goes on from a checkpoint hides the same.

    Args:
        share: probability.
        vocabulary: number of token ids; a hidden token gets the next one.
        seed: of the run.
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
        """Hide tokens; ``label`` is (batch, towers * length), the token at hidden places and ``IGNORED`` elsewhere."""
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
