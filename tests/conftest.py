"""Fixtures that several rooms use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    # Without a GPU, Triton's kernels run in its interpreter, which it decides on when it is first imported.
    os.environ["TRITON_INTERPRET"] = "1"

from lra.config.settings import AttentionSettings, Experiment, ModelSettings, TrainSettings
from lra.data.shards import Shards, write_shards
from lra.tasks.contract import Examples, Task, list_array, record_batch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests for several processes: first those that wait for Slurm, then those that run the workflow.

    Those of the attentions come last, Reformer's first, because compiling it takes longest.
    """
    order = {"workflow": 1, "attention": 3}

    def place(item: pytest.Item) -> tuple[int, bool]:
        room = 0 if item.get_closest_marker("slurm") else order.get(item.path.parent.name, 2)
        return room, item.path.stem != "test_reformer"

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a file in one process, because they share what they set up.

    Those of graphs are long and share nothing, so they are handed out one by one. All that wait for Slurm are in one
    process, so that the others keep the cores busy.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            if file.endswith(("test_graphs.py", "test_onnx.py")):
                return nodeid
            return "slurm" if "/test_slurm" in file else file

    return ByFile(config, log)


def toy_examples(rows: int = 96, length: int = 24, towers: int = 1, seed: int = 0) -> Examples:
    """Token ids 1 ... 8; the label is whether a sequence has more ids above 4 than below, which a model can learn."""

    def batch(seed: int, rows: int):  # type: ignore[no-untyped-def]
        random = np.random.default_rng(seed)
        sides = []
        for _ in range(towers):
            lengths = random.integers(3, length + 1, rows)
            sides.append(list_array(random.integers(1, 9, lengths.sum()).astype(np.uint8), lengths))
        first = sides[0]
        label = np.array([np.mean(np.asarray(row.as_py()) > 4) > 0.5 for row in first])
        return record_batch(label, *sides)

    return {"train": [batch(seed, rows)], "dev": [batch(seed + 1, 40)], "test": [batch(seed + 2, 40)]}


@pytest.fixture
def toy_shards(tmp_path: Path) -> Shards:
    """A prepared toy task of 96 / 40 / 40 rows."""
    task = Task("toy", classes=2, vocabulary=9, max_length=24)
    return write_shards(tmp_path / "data" / "toy", task, toy_examples(), expected=None, provenance={})


@pytest.fixture
def toy_experiment() -> Callable[..., Experiment]:
    """Makes an experiment on the toy task: a name of an attention, and training settings to change."""

    def make(attention: str = "softmax", seed: int = 1, **train: object) -> Experiment:
        settings = {"batch": 16, "learning_rate": 5e-3, "warmup": 2, "steps": 12, "evaluate_every": 4} | train
        return Experiment(
            task="toy",
            attention=AttentionSettings(attention, features=8),
            seed=seed,
            model=ModelSettings(layers=1, embedding=16, hidden=16, heads=2, head_dim=8),
            train=TrainSettings(**settings),  # type: ignore[arg-type]
        )

    return make


@pytest.fixture
def elsewhere(made: Path, tmp_path: Path) -> Path:
    """A copy of the results of another clone, ``made``, a fixture of the test's own file."""
    return Path(shutil.copytree(made / "results", tmp_path / "elsewhere"))


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An arena, the current folder, with the configuration and data of ``made``, and no results."""
    folder = tmp_path / "here"
    folder.mkdir()
    shutil.copy(made / "config.yaml", folder)
    shutil.copytree(made / "data", folder / "data")
    monkeypatch.chdir(folder)
    return folder
