"""Snakemake takes merged runs for its own: it trains none of them, before the data are prepared and after."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sharing.tuned_arena import ROW, tuned_and_pretrained
from workflow.arena import Checkout, configuration

pytestmark = [pytest.mark.slow, pytest.mark.long]

RUN = "results/runs/mini/listops/{}/seed-1/metrics.json"


def lra(checkout: Checkout, *arguments: str) -> str:
    command = [sys.executable, "-m", "lra", *arguments]
    environment = checkout.environment | {"PYTHONPATH": str(checkout.folder / "src")}
    done = subprocess.run(command, cwd=checkout.folder, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("prepared", [False, True])
def test_merged_runs_are_neither_rerun_nor_lost(finished: Checkout, tmp_path: Path, prepared: bool) -> None:
    runs = [RUN.format(attention) for attention in ("softmax", "vmean")]
    lra(finished.copy(tmp_path / "other"), "archive", str(tmp_path / "runs.tar.gz"))
    here = Checkout.create(tmp_path / "here", configuration())
    if prepared:
        here.snakemake("shards")
    assert "2 merged" in lra(here, "merge", str(tmp_path / "runs.tar.gz"))
    if not prepared:
        here.snakemake(*runs)
        for log in (here.folder / "logs/mini/train").rglob("*.log"):
            assert "taken from" in log.read_text()
    assert here.planned(*runs) == set()
    # With its outputs deleted, a run still comes from the store.
    shutil.rmtree(here.folder / "results/runs/mini/listops/vmean")
    here.snakemake(*runs)
    assert "taken from" in (here.folder / "logs/mini/train/listops/vmean/seed-1.log").read_text()
    assert "weights_left_out" in (here.folder / runs[1]).read_text()


def test_a_merged_cell_is_neither_tuned_nor_pretrained_again(tmp_path: Path) -> None:
    config = tuned_and_pretrained()
    targets = ("tune", f"results/runs/mini/listops/{ROW}/seed-1/metrics.json")
    other = Checkout.create(tmp_path / "other", config)
    other.snakemake(*targets)
    lra(other, "archive", str(tmp_path / "runs.tar.gz"))
    here = Checkout.create(tmp_path / "here", config)
    here.snakemake("shards")
    assert "5 merged" in lra(here, "merge", str(tmp_path / "runs.tar.gz"))
    assert "Nothing to be done" in here.snakemake("--dry-run", *targets[1:])
    planned = here.snakemake("--dry-run", *targets)
    assert not re.search("^(local)?(rule|checkpoint) (try_|choose_|pretrain|train_)", planned, re.MULTILINE), planned
