"""`snakemake --use-conda`: every rule finds in its own environment all that it needs, and the same numbers come out."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pandas as pd
import pytest

from workflow.arena import Checkout, configuration

pytestmark = [pytest.mark.slow, pytest.mark.long]

STAND_IN = Path(__file__).parent / "conda" / "bin"


@dataclasses.dataclass(frozen=True)
class CondaCheckout(Checkout):
    """Runs where the stand-in for conda is found first."""

    @property
    def environment(self) -> dict[str, str]:
        environment = super().environment
        return environment | {"PATH": f"{STAND_IN}{os.pathsep}{environment['PATH']}"}


def test_the_arena_in_its_environments(finished: Checkout, tmp_path: Path) -> None:
    checkout = CondaCheckout.create(tmp_path / "lra", configuration())
    data = checkout.folder / "envs/data.yaml"
    lines = data.read_text().splitlines(keepends=True)
    # Tensorflow takes minutes to install, and only reading TFDS files needs it.
    data.write_text("".join(line for line in lines if "tensorflow" not in line))
    output = checkout.snakemake("--use-conda", "results/report.html", "results/tables/accuracy.md", timeout=1500)
    made = {env for env in ("data", "train", "report") if f"Creating conda environment envs/{env}.yaml" in output}
    assert made == {"data", "train", "report"}
    metrics = "results/runs/mini/listops/softmax/seed-1/metrics.json"
    ours, theirs = (json.loads((place.folder / metrics).read_text()) for place in (checkout, finished))
    assert ours["machine"]["torch"].partition("+")[0] == "2.13.0"
    assert ours["test_loss"] == theirs["test_loss"]
    table = [pd.read_csv(place.folder / "results/table.csv") for place in (checkout, finished)]
    columns = ["task", "attention", "status", *(name for name in table[0] if "accuracy" in name)]
    pd.testing.assert_frame_equal(table[0][columns], table[1][columns])
    assert "Nothing to be done" in checkout.snakemake("--use-conda", "--dry-run", "results/report.html")
