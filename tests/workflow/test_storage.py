"""Where a storage plugin keeps all files, as in a cloud, every rule finds what it needs there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from workflow.arena import Checkout, configuration

pytest.importorskip("snakemake_storage_plugin_fs")
pytestmark = [pytest.mark.slow, pytest.mark.long]


def storage(bucket: Path) -> list[str]:
    """Options that keep all files in a folder as if it were a bucket that no node sees."""
    bucket.mkdir(exist_ok=True)
    options = ["--default-storage-provider", "fs", "--default-storage-prefix", str(bucket)]
    return [*options, "--shared-fs-usage", "none"]


def test_no_rule_depends_on_a_local_path(tmp_path: Path) -> None:
    checkout = Checkout.create(tmp_path / "lra", configuration(bench={"lengths": [32], "repeats": 1}))
    bucket = tmp_path / "bucket"
    planned = checkout.snakemake("--dry-run", "all", "rehearse", *storage(bucket))
    lines = re.findall(r"^    (?:input|output|log): (.*)$", re.sub(r" \([^)]*\)", "", planned), re.MULTILINE)
    named = [one for line in lines for one in line.split(", ") if one != "<TBD>"]  # not known before data are prepared
    assert len(named) > 50
    assert [one for one in named if not one.startswith(f"{bucket}/")] == []


@pytest.mark.skipif(shutil.which("rsync") is None, reason="the storage plugin copies with rsync")
def test_a_run_reads_its_shards_from_the_storage(tmp_path: Path) -> None:
    """Another node than the one that prepared them has no copy."""
    checkout = Checkout.create(tmp_path / "lra", configuration(attentions=["vmean"]))
    bucket = tmp_path / "bucket"
    checkout.snakemake("prepare_listops", *storage(bucket))
    shutil.rmtree(checkout.folder / ".snakemake" / "storage")
    checkout.snakemake("train_vmean_listops", *storage(bucket))
    assert (bucket / "results/runs/mini/listops/vmean/seed-1/metrics.json").exists()
    assert [path.name for path in (checkout.folder / "results").iterdir()] == ["store"]  # the node's own
