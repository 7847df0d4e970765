"""Rows of the paper's lengths, for benchmarks of training: made-up sequences in shards, and trainers on them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from lra.attention import resolve
from lra.config.arena import load
from lra.config.settings import AttentionSettings, Experiment, ModelSettings, TrainSettings
from lra.data.shards import Shards, write_shards
from lra.data.synthetic import describe
from lra.tasks.contract import list_array, record_batch
from lra.tasks.listops_trees import Generator, generate
from lra.training.checkpoint import Checkpoints
from lra.training.trainer import Trainer

TRUE_SIZE = load(Path(__file__).parents[1] / "config.yaml").true_size
"""Settings of the tasks at the scale paper."""


def review_lengths(rows: int, random: np.random.Generator) -> np.ndarray:
    """Bytes of film reviews as IMDb has them: median about 980, mean 1300 before the cut at 4000, none below 32."""
    return np.clip(random.lognormal(np.log(980), 0.75, rows), 32, 4000).astype(int)


def reviews() -> Iterator[pa.RecordBatch]:
    """Random bytes of these lengths without end."""
    random = np.random.default_rng(0)
    while True:
        lengths = review_lengths(1024, random)
        tokens = random.integers(1, 257, lengths.sum()).astype(np.uint16)
        yield record_batch(random.integers(0, 2, 1024), list_array(tokens, lengths))


def make_shards(task: str, rows: int, folder: Path) -> Shards:
    """``rows`` rows, or a few more, of ``text`` (random bytes) or ``listops`` (the task's trees, without brackets)."""
    source = reviews() if task == "text" else generate(Generator(), 0, brackets=False)
    train = list(itertools.takewhile(Rows(rows), source))
    few = train[0].slice(0, 8)
    examples = {"train": train, "dev": [few], "test": [few]}
    return write_shards(folder / task, describe(task, TRUE_SIZE[task]["data"]), examples, expected=None, provenance={})


class Rows:
    """True until so many rows have passed."""

    def __init__(self, wanted: int) -> None:
        self.left = wanted

    def __call__(self, batch: pa.RecordBatch) -> bool:
        enough = self.left <= 0
        self.left -= batch.num_rows
        return not enough


def trainer(shards: Shards, attention: str, pad: str, batch: int | None = None, features: int = 256) -> Trainer:
    """The paper's model on a task, with the paper's batch unless another is given."""
    task = shards.task.name
    train = TrainSettings(
        batch or TRUE_SIZE[task]["train"]["batch"], 1e-4, warmup=80, steps=20000, evaluate_every=500, pad=pad
    )
    method = AttentionSettings(attention, features, resolve(attention).options)
    experiment = Experiment(task, method, seed=1, model=ModelSettings(), train=train)
    return Trainer(experiment, shards, torch.device("cpu"), Checkpoints(shards.folder / "checkpoint", ""))
