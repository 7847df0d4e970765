"""`snakemake rehearse` names the cells that would crash; `snakemake plan` says what a run takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from workflow.arena import Checkout, configuration

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_a_rehearsal_finds_what_crashes(tmp_path: Path) -> None:
    checkout = Checkout.create(tmp_path / "lra", configuration())
    checkout.snakemake("rehearse", "plan")
    assert "2 runs, 0 of them done" in (checkout.folder / "results/plan.md").read_text()
    assert not (checkout.folder / "results/runs").exists()
    vmean = checkout.folder / "src/lra/attention/vmean.py"
    vmean.write_text(vmean.read_text() + "\n\ndel VMean.attend\nVMean.forward = None\n")
    output = checkout.snakemake("rehearse", code=1)
    assert "These runs failed; each file says why" in output
    named = (checkout.folder / "logs/mini/rehearse.log").read_text().split()
    assert named == ["results/rehearsal/mini/listops/vmean/metrics.json"]


def test_a_pretraining_may_take_a_larger_batch(tmp_path: Path) -> None:
    config = configuration(attentions=["vmean"], pretrain=True)
    task = config["scales"]["mini"]["tasks"]["listops"]
    larger = {"mask": 0.1, "batch": 2 * task["train"]["batch"], "learning_rate": 1e-3, "warmup": 1, "steps": 4}
    config["scales"]["mini"]["tasks"]["listops"] = task | {"pretrain": larger | {"evaluate_every": 4}}
    Checkout.create(tmp_path / "lra", config).snakemake("rehearse")
