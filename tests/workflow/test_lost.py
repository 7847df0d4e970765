"""What is finished outlives jobs that fail: Snakemake deletes a job's outputs before it starts the job."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from workflow.arena import Checkout

pytestmark = pytest.mark.slow

TABLE = "results/table.csv"
MANIFEST = "data/mini/listops/manifest.json"
RUN = "results/runs/mini/listops/vmean/seed-1"
MEASURE = "results/measures/listops/vmean/measure.json"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def assert_kept(printed: str, sentence: str) -> None:
    assert sentence in printed and "Finished jobs are kept" in printed
    assert "Traceback" not in printed


def test_runs_on_a_damaged_manifest(checkout: Checkout) -> None:
    """All of them were gone after five seconds, and nothing was trained."""
    manifest, run = checkout.folder / MANIFEST, checkout.folder / RUN
    whole, before, table = manifest.read_bytes(), files(run), checkout.table()
    os.truncate(manifest, 300)
    assert_kept(checkout.snakemake(TABLE, code=1), "manifest.json cannot be read")
    manifest.write_bytes(whole)
    checkout.snakemake(TABLE)
    assert (files(run), checkout.table()) == (before, table)
    assert "taken from results/store/" in (checkout.folder / "logs/mini/train/listops/vmean/seed-1.log").read_text()


def test_a_folder_that_cannot_be_written(checkout: Checkout) -> None:
    """Snakemake would stop in the middle of deleting the old outputs, with a traceback."""
    run = checkout.folder / RUN
    before = files(run)
    command = checkout.command(TABLE, "--forcerun", "collect")
    if os.geteuid() == 0:  # for whom modes count only without this capability
        command = ["setpriv", "--bounding-set", "-dac_override", *command]
    run.chmod(0o555)
    done = subprocess.run(command, cwd=checkout.folder, env=checkout.environment, capture_output=True, text=True)
    run.chmod(0o755)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"Error: {RUN} cannot be written; correct its owner or permissions" in done.stderr
    assert files(run) == before


def test_the_table_of_a_damaged_run(checkout: Checkout) -> None:
    """A table that cannot be made is not there, but that of before is."""
    run, table = checkout.folder / RUN, checkout.table()
    before = files(run)
    (run / "predictions.parquet").write_bytes(b"no predictions")
    printed = checkout.snakemake(TABLE, code=1)
    assert_kept(printed, "predictions.parquet is damaged or another run's")
    assert "results/previous has the last table" in printed
    assert (checkout.folder / "results/previous/table.csv").read_text() == table
    (run / "predictions.parquet").unlink()
    checkout.snakemake(TABLE)
    assert (files(run), checkout.table()) == (before, table)


@pytest.mark.long
def test_a_measurement_by_code_that_cannot_be_imported(checkout: Checkout) -> None:
    """Neither lost, nor taken for one by the new code."""
    method = checkout.folder / "src/lra/attention/vmean.py"
    text, before = method.read_text(), (checkout.folder / MEASURE).read_bytes()
    method.write_text(text.replace("import torch\n", "import no_such_package\nimport torch\n", 1))
    assert_kept(checkout.snakemake(MEASURE, code=1), "No module named 'no_such_package'; install it and run")
    assert "measure_vmean" in checkout.planned(MEASURE)
    method.write_text(text)
    checkout.snakemake(MEASURE)
    assert (checkout.folder / MEASURE).read_bytes() == before
    log = (checkout.folder / "logs/measure/vmean.log").read_text()
    assert "measured already" in log
