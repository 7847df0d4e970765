"""The sweep over batch sizes and learning rates: runs of its own, which rerun alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workflow.arena import Checkout, configuration

pytestmark = pytest.mark.slow

TARGETS = ("results/table.csv", "sweep")
SWEPT = "results/sweep/mini"


def swept(batch: list[int], rates: list[float]) -> dict[str, Any]:
    config = configuration()
    config["scales"]["mini"]["sweep"] = {
        "attention": "vmean",
        "task": "listops",
        "batch": batch,
        "learning_rate": rates,
    }
    return config


@pytest.fixture(scope="module")
def done(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = finished.copy(tmp_path_factory.mktemp("swept") / "lra")
    checkout.configure(swept([8], [1e-3, 1e-5]))
    assert checkout.ran(*TARGETS) == {"train_sweep"}
    return checkout


def test_runs_have_the_settings_of_their_cell_and_are_drawn(done: Checkout) -> None:
    for rate in (1e-3, 1e-5):
        folder = done.folder / SWEPT / f"batch-8_rate-{rate}" / "seed-1"
        metrics = json.loads((folder / "metrics.json").read_text())
        train = metrics["settings"]["train"]
        assert (metrics["status"], metrics["attention"]) == ("ok", "vmean")
        assert (train["batch"], train["learning_rate"], train["steps"]) == (8, rate, 4)
    assert (done.folder / "results/plots/sweep.png").is_file()
    assert done.planned(*TARGETS) == set()


def test_other_rates_rerun_the_sweep_alone(done: Checkout, tmp_path: Path) -> None:
    checkout = done.copy(tmp_path / "lra")
    checkout.configure(swept([8], [1e-3, 2e-4]))
    output = checkout.snakemake("--dry-run", *TARGETS)
    assert checkout.planned(*TARGETS) == {"train_sweep"}
    assert f"{SWEPT}/batch-8_rate-0.0002/seed-1/metrics.json" in output
    assert "cell=batch-8_rate-0.001" not in output
    assert "wildcards: figure=sweep" in output


def test_the_tasks_own_rate_reruns_its_runs_but_not_the_sweep(done: Checkout, tmp_path: Path) -> None:
    checkout = done.copy(tmp_path / "lra")
    config = swept([8], [1e-3, 1e-5])
    task = config["scales"]["mini"]["tasks"]["listops"]
    config["scales"]["mini"]["tasks"]["listops"] = task | {"train": task["train"] | {"learning_rate": 5e-3}}
    checkout.configure(config)
    assert checkout.planned(*TARGETS) == {"train_softmax_listops", "train_vmean_listops"}


def test_without_the_block_nothing_is_swept(finished: Checkout) -> None:
    output = finished.snakemake("--dry-run", "sweep", "results/report.html")
    assert "train_sweep" not in output and "figure=sweep" not in output
