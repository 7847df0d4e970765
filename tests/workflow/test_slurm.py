"""The arena as jobs of Slurm gives the table of a local run, though a training job is requeued in its middle."""

from __future__ import annotations

import copy
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from workflow import slurm
from workflow.arena import Checkout, configuration
from workflow.slurm import SlurmCheckout

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(bool(slurm.missing()), reason=f"needs slurm-wlm and munge: no {', '.join(slurm.missing())}"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with slurm.cluster(tmp_path_factory.mktemp("slurm") / "cluster") as environment:
        yield environment


def long_runs() -> dict[str, Any]:
    """Runs long enough to be caught at work."""
    config = copy.deepcopy(configuration(attentions=["softmax"]))
    config["scales"]["mini"]["tasks"]["listops"]["train"] |= {
        "steps": 3000,
        "evaluate_every": 250,
        "patience_steps": 3000,
    }
    return config


def accuracies(checkout: Checkout) -> pd.DataFrame:
    table = pd.read_csv(checkout.folder / "results/table.csv")
    return table[[name for name in table if "accuracy" in name or name in ("task", "attention", "status")]]


def training_job(checkout: SlurmCheckout) -> str | None:
    """The id of a job whose training has begun."""
    logs = list(checkout.folder.glob("logs/mini/train/listops/softmax/*.log"))
    if not logs or "step 250:" not in logs[0].read_text():
        return None
    running = slurm.asked(checkout.cluster, "squeue", "--noheader", "--states=R", "--format=%i %k")
    found = re.search(r"^(\d+) .*train_softmax", running, re.MULTILINE)
    return found[1] if found else None


def test_the_table_of_a_local_run(cluster: dict[str, str], tmp_path: Path) -> None:
    local = Checkout.create(tmp_path / "local", long_runs())
    local.snakemake("results/table.csv")
    there = SlurmCheckout(Checkout.create(tmp_path / "there", long_runs()).folder, cluster)
    with there.running("results/table.csv") as run:
        slurm.wait_until(lambda: run.poll() is not None or training_job(there) is not None, seconds=500)
        job = training_job(there)
        assert job, there.said()
        subprocess.run(["scontrol", "requeue", job], env=cluster, check=True, timeout=20)
        assert run.wait(timeout=500) == 0, there.said()
    log = (there.folder / "logs/mini/train/listops/softmax/seed-1.log").read_text()
    assert "going on from step" in log
    pd.testing.assert_frame_equal(accuracies(there), accuracies(local))
