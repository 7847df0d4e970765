"""The rule `pretrain` stands between preparing and training, and reruns only where it is stale."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from workflow.arena import Checkout, configuration

pytestmark = [pytest.mark.slow, pytest.mark.long]

ROW = "vmean_pretrained"
RUN = Path(f"results/runs/mini/listops/{ROW}/seed-1/metrics.json")
PRETRAINING = Path(f"results/pretrain/mini/listops/{ROW}/seed-1/metrics.json")
TARGETS = ("train_vmean_listops", f"train_{ROW}_listops")


def pretrained() -> dict[str, Any]:
    """One method with and without."""
    config = copy.deepcopy(configuration())
    block = {"mask": 0.1, "batch": 16, "learning_rate": 1e-3, "warmup": 1, "steps": 4, "evaluate_every": 2}
    config["scales"]["mini"]["tasks"]["listops"]["pretrain"] = block
    return config | {"attentions": ["vmean", {ROW: {"method": "vmean", "pretrain": True}}]}


def test_a_run_starts_from_its_pretraining_and_both_rerun_where_stale(tmp_path: Path) -> None:
    checkout = Checkout.create(tmp_path / "arena", pretrained())
    checkout.snakemake(*TARGETS)
    run, first = (json.loads((checkout.folder / path).read_text()) for path in (RUN, PRETRAINING))
    assert run["pretraining"]["key"] == first["key"]
    assert checkout.planned(*TARGETS) == set()
    config = pretrained()
    config["scales"]["mini"]["tasks"]["listops"]["train"]["steps"] = 6
    checkout.configure(config)
    assert checkout.planned(*TARGETS) == set(TARGETS)
    config = pretrained()
    config["scales"]["mini"]["tasks"]["listops"]["pretrain"]["mask"] = 0.2
    checkout.configure(config)
    assert checkout.planned(*TARGETS) == {"pretrain", f"train_{ROW}_listops"}
