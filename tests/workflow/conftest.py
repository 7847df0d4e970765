from __future__ import annotations

import os
from pathlib import Path

import pytest

from lra.files import lock
from workflow.arena import Checkout, configuration


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A small arena after a full run, one for all processes of pytest; tests copy it and never change it."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # of all processes
    whole = Checkout(base / "finished" / "lra")
    with (base / "finished.lock").open("w") as file:
        lock(file)
        if not whole.folder.exists():
            made = Checkout.create(base / "unfinished" / "lra", configuration())
            made.snakemake("results/table.csv", "shards")
            made.folder.parent.rename(whole.folder.parent)
    return whole


@pytest.fixture
def checkout(finished: Checkout, tmp_path: Path) -> Checkout:
    """A copy of the finished arena of one's own."""
    return finished.copy(tmp_path / "lra")
