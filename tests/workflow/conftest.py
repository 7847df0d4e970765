from __future__ import annotations

from pathlib import Path

import pytest

from workflow.arena import Checkout, configuration


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A small arena after a full run; tests copy it and never change it."""
    checkout = Checkout.create(tmp_path_factory.mktemp("finished") / "lra", configuration())
    checkout.snakemake("results/table.csv", "shards")
    return checkout


@pytest.fixture
def checkout(finished: Checkout, tmp_path: Path) -> Checkout:
    """A copy of the finished arena of one's own."""
    return finished.copy(tmp_path / "lra")
