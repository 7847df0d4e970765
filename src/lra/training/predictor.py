"""A trained run that classifies raw input: an expression, a text, an image.

    import lra

    run = lra.load_run("results/runs/mini/listops/softmax/seed-1")
    run.predict("[MAX 2 9 [MIN 4 7 ] 0 ]").label

This reads the folder of the run only, neither config.yaml nor the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lra.config.mapping import from_mapping
from lra.data.batches import pad
from lra.devices import default_device
from lra.errors import LraError
from lra.model import build_model, padded_length, trims
from lra.tasks import module_of
from lra.tasks.contract import Task, list_array
from lra.training.optim import autocast
from lra.training.run_folder import load_weights, read_run, refuse_sizes


@dataclass(frozen=True)
class Prediction:
    """The most probable label, and the probability of each label: (classes,) float32."""

    label: int
    probabilities: npt.NDArray[np.float32]


class TrainedRun:
    """The best weights of a finished run, in the precision of its evaluation.

    ``metrics`` is the content of its ``metrics.json``, ``task`` describes its tokens and labels, ``model`` is the
    module.

    Args:
        folder: the run's folder.
        trust: whether to run the code of an attention that is not in the registry.

    Raises:
        LraError: the folder is not a finished run, it names code that is not trusted, or the class of its attention
            has moved.
    """

    def __init__(self, folder: Path, *, trust: bool = False) -> None:
        self.metrics, self.experiment = read_run(folder, trust=trust)
        settings = self.metrics.get("data_settings")
        where = f"{folder / 'metrics.json'}: data_settings"
        if settings is None:
            raise LraError(f"{folder / 'metrics.json'} does not say how its data were made; train this run again.")
        try:
            self._tasks = module_of(self.experiment.task, settings)
            self._settings = from_mapping(self._tasks.Settings, settings, where)
            self.task: Task = self._tasks.describe(self._settings)
        except (AttributeError, ImportError, TypeError, ValueError) as problem:
            raise LraError(f"{where} are not those of a task ({problem}); train this run again.") from problem
        refuse_sizes(folder, self.experiment, self.task.vocabulary, padded_length(self.task))
        self.device = default_device()
        try:
            self.model = build_model(self.task, self.experiment.model, self.experiment.attention).to(self.device).eval()
        except (ValueError, TypeError) as problem:
            raise LraError(f"{folder}: {problem}; run this in the folder that it was trained in.") from problem
        load_weights(self.model, folder)

    @torch.no_grad()
    def predict(self, *raw: Any) -> Prediction:
        """Classify one example.

        Args:
            raw: an expression (listops), a text (text), two texts (retrieval), an array of grey values 0..255
                (pathfinder, image), or token ids (a task of your own); see ``encode`` of the task's module.

        Raises:
            LraError: the input does not fit the task.
        """
        if len(raw) != self.task.towers:
            raise LraError(f"{self.task.name} takes {self.task.towers} input(s) at a time, not {len(raw)}.")
        padded = [self._padded(self._tasks.encode(self._settings, sequence)) for sequence in raw]
        tokens, masks = zip(*padded, strict=True)
        with autocast(self.experiment.train, self.device):
            logits = self.model(tokens, masks)[0].float()
        probabilities = logits.softmax(-1).cpu().numpy()
        return Prediction(int(probabilities.argmax()), probabilities)

    def _padded(self, tokens: npt.NDArray[np.unsignedinteger]) -> list[torch.Tensor]:
        """Tokens and mask, (1, length) each, padded as in training."""
        rows = list_array(tokens, np.array([len(tokens)]))
        trim = trims(self.model, self.experiment.train.pad)
        return [tensor.to(self.device) for tensor in pad(rows, padded_length(self.task), trim=trim)]


def load_run(folder: str | Path, *, trust: bool = False) -> TrainedRun:
    """The trained run in a folder such as ``results/runs/mini/listops/softmax/seed-1``.

    Args:
        folder: the run's folder.
        trust: whether to run the code of an attention that is not in the registry, such as one of your own. Do not
            trust a folder from elsewhere.

    Raises:
        LraError: the folder is not a finished run, it names code that is not trusted, or the class of its attention
            has moved.
    """
    return TrainedRun(Path(folder), trust=trust)
