"""What the user's shell and folder hold changes no job: variables of Python, torch, matplotlib, and stray files."""

from __future__ import annotations

from pathlib import Path

import pytest

from workflow.arena import Checkout, configuration

pytestmark = pytest.mark.slow

OWN = """
from lra.attention.vmean import VMean


class Mine(VMean):
    pass
"""


def test_inherited_variables_and_files_called_like_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these ended a job with a traceback, after the old results had been deleted."""
    attentions = ["vmean", {"mine": {"module": "random.py:Mine"}}]
    checkout = Checkout.create(tmp_path / "lra", configuration(attentions=attentions))
    (checkout.folder / "random.py").write_text(OWN)
    (checkout.folder / "tokenize.py").write_text("raise SystemExit('a stray file')\n")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("TORCH_LOGS", "no such log")
    monkeypatch.setenv("LC_ALL", "xx_XX.nothing")
    checkout.snakemake("results/plots/accuracy_time.svg")
    assert "mine" in checkout.table()
    assert "failed" not in checkout.table()
