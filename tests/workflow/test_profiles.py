"""The default profile, which every Snakemake in the folder reads, leaves whole what another profile says."""

from __future__ import annotations

import pytest

from workflow.arena import Checkout

pytestmark = pytest.mark.slow


def test_a_job_of_slurm_has_its_profiles_defaults(finished: Checkout) -> None:
    """Default resources in the default profile would replace them, and with them the signal before the time limit."""
    pytest.importorskip("snakemake_executor_plugin_slurm")
    output = finished.snakemake(
        "--profile", "workflow/profiles/slurm", "--dry-run", "--force", "prepare_listops", "results/table.csv"
    )
    collect = output.partition("rule collect:")[2].partition("\n\n")[0]
    assert "mem_mb=1000" in collect and "runtime=60" in collect
    assert "slurm_extra=--signal=TERM@120" in output.partition("checkpoint prepare_listops:")[2].partition("\n\n")[0]


def test_a_failed_job_shows_its_log(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Else a dead download shows a CalledProcessError, and the reason stands in a file only."""
    checkout = finished.copy(tmp_path_factory.mktemp("failed") / "lra")
    manifest = checkout.folder / "data/mini/listops/manifest.json"
    manifest.write_text("{")
    output = checkout.snakemake("train_vmean_listops", "--forcerun", "train_vmean_listops", code=1)
    assert "Error: data/mini/listops/manifest.json" in output
