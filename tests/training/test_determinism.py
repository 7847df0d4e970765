"""The same run twice gives the same bits, with every operation held to be deterministic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from lra.attention.registry import names, resolve
from lra.config.settings import AttentionSettings, Experiment
from lra.data.shards import Shards
from lra.devices import make_deterministic
from lra.training.checkpoint import Checkpoints
from lra.training.trainer import Trainer


@pytest.fixture(autouse=True)
def strict() -> Iterator[None]:
    make_deterministic()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", names())
def test_every_method_repeats_to_the_bit(
    name: str, precision: str, toy_experiment: Callable[..., Experiment], toy_shards: Shards, tmp_path: Path
) -> None:
    """Without ``warn_only`` an operation that has no deterministic form raises."""
    experiment = toy_experiment(precision=precision, steps=3, evaluate_every=3, pad="batch")
    attention = AttentionSettings(name, 8, resolve(name).options)
    experiment = Experiment(**vars(experiment) | {"attention": attention})
    weights = []
    for _ in range(2):
        run = Trainer(experiment, toy_shards, torch.device("cpu"), Checkpoints(tmp_path, ""))
        run.run()
        weights.append(run.best_weights)
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
