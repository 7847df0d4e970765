"""What surrounds the jobs changes none: the shell's variables, stray files, and Snakemake's own work."""

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


VMEAN = "results/runs/mini/listops/vmean/seed-1/model.safetensors"


def test_inherited_variables_and_files_called_like_modules(
    finished: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of these ended a job with a traceback, after the old results had been deleted, or changed its numbers."""
    attentions = ["vmean", {"mine": {"module": "random.py:Mine"}}]
    checkout = Checkout.create(tmp_path / "lra", configuration(attentions=attentions))
    (checkout.folder / "random.py").write_text(OWN)
    (checkout.folder / "tokenize.py").write_text("raise SystemExit('a stray file')\n")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("TORCH_LOGS", "no such log")
    monkeypatch.setenv("LC_ALL", "xx_XX.nothing")
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    monkeypatch.setenv("TMPDIR", "/proc/nowhere")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")  # other instructions, and so another rounding
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    checkout.snakemake("results/plots/accuracy_time.svg")
    assert "mine" in checkout.table()
    assert "failed" not in checkout.table()
    assert (checkout.folder / VMEAN).read_bytes() == (finished.folder / VMEAN).read_bytes()


COUNTED = """

import atexit
import threading


class Counted(threading.Timer):
    number = 0

    def start(self):
        Counted.number += 1
        super().start()


threading.Timer = Counted
atexit.register(lambda: print("timers:", Counted.number))
"""


def test_snakemake_looks_for_jobs_only_when_one_has_ended(finished: Checkout, tmp_path: Path) -> None:
    """Otherwise, the more jobs have ended, the more it disturbs those that run, and those that measure."""
    checkout = finished.copy(tmp_path / "lra")
    snakefile = checkout.folder / "workflow/Snakefile"
    snakefile.write_text(snakefile.read_text() + COUNTED)
    assert "timers: 0" in checkout.snakemake("--force", "prepare_listops")
    limit = ("--max-jobs-per-timespan", "5/1s")  # is obeyed
    assert "timers: 0" not in checkout.snakemake("--force", *limit, "--", "prepare_listops")
