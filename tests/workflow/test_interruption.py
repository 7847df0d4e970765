"""Killed at a random moment, the same command again finishes with the numbers of an undisturbed run."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from workflow.arena import Checkout, configuration

pytestmark = [pytest.mark.slow, pytest.mark.long]


def start(checkout: Checkout) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        checkout.command("results/table.csv"),
        cwd=checkout.folder,
        env=checkout.environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def accuracies(checkout: Checkout) -> pd.DataFrame:
    table = pd.read_csv(checkout.folder / "results/table.csv")
    return table[[name for name in table if "accuracy" in name or name in ("task", "attention", "status")]]


def test_kill_9_of_the_whole_run(finished: Checkout, tmp_path: Path) -> None:
    checkout = Checkout.create(tmp_path / "lra", configuration())
    kills = 0
    for _ in range(3):
        run = start(checkout)
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(timeout=random.uniform(1, 7))
        kills += run.poll() is None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    assert kills
    checkout.snakemake("results/table.csv")
    pd.testing.assert_frame_equal(accuracies(checkout), accuracies(finished))
    left_over = [path for path in checkout.folder.rglob("*.part") if ".snakemake" not in path.parts]
    assert all(path.name.startswith(".") for path in left_over)  # never under a name that is taken for a result


def test_two_runs_at_once(tmp_path: Path) -> None:
    checkout = Checkout.create(tmp_path / "lra", configuration())
    first = start(checkout)
    lock = checkout.folder / ".snakemake" / "arena.lock"
    deadline = time.monotonic() + 60
    while not lock.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    output = checkout.snakemake("results/table.csv", code=1)
    assert "another snakemake is running in this folder" in output
    assert "Traceback" not in output
    assert first.wait(timeout=200) == 0
