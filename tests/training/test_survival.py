"""A run that is killed again and again at random moments ends with the numbers of one that was left alone."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lra.config.settings import Experiment
from lra.data.shards import Shards
from lra.files import read_json
from lra.training.run import train_run

KILLS = 20
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def results(folder: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """What a finished run says, without the times."""
    metrics = read_json(folder / "metrics.json")
    numbers = {name: metrics[name] for name in ("status", "test_accuracy", "test_loss", "dev_loss", "best_step")}
    return numbers, pd.read_csv(folder / "history.csv").drop(columns="seconds")


@pytest.mark.slow
@pytest.mark.long
def test_twenty_kills(toy_experiment: Callable[..., Experiment], toy_shards: Shards, tmp_path: Path) -> None:
    experiment = toy_experiment("skeinformer", steps=60, evaluate_every=10, patience_steps=200)
    settings = {"code": "x", "threads": 1, "checkpoint_seconds": 0}  # a checkpoint after every step
    train_run(experiment, toy_shards.folder, tmp_path / "whole", **settings)
    expected, history = results(tmp_path / "whole")
    # Each life is forked from a process that has imported torch and has no threads.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lra.training.run"])
    moments = random.Random(0)
    kills = finished = 0
    while kills < KILLS or not finished:
        out = tmp_path / f"run-{finished}"
        process = context.Process(target=train_run, args=(experiment, toy_shards.folder, out), kwargs=settings)
        process.start()
        assert process.pid
        process.join(moments.uniform(0.05, 1.5) if kills < KILLS else None)
        if killed := process.exitcode is None:
            os.kill(process.pid, moments.choice(SIGNALS))
            process.join()
        if killed and process.exitcode != 0:
            kills += 1
            continue
        assert process.exitcode == 0
        numbers, rows = results(out)
        assert numbers == expected
        pd.testing.assert_frame_equal(rows, history)
        assert not (out / "checkpoint").exists()
        finished += 1
