"""Training jobs that Slurm ends, for time, for memory or by hand, are tried again with more and lose nothing."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from workflow import slurm
from workflow.arena import LISTOPS, Checkout, configuration
from workflow.slurm import SlurmCheckout

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(bool(slurm.missing()), reason=f"needs slurm-wlm and munge: no {', '.join(slurm.missing())}"),
]

# In a job of Slurm a step takes so long that the run goes over its limit of a minute, unless there is a checkpoint.
METHOD = """
import os
import sys
import time
from pathlib import Path

from lra.attention.vmean import VMean

ON_SLURM = "--out" in sys.argv and "SLURM_JOB_ID" in os.environ
RESUMED = ON_SLURM and Path(sys.argv[sys.argv.index("--out") + 1], "checkpoint/latest.pt").exists()


class Method(VMean):
    def __init__(self, *, pause=0.0, megabytes=0, **common):
        super().__init__(**common)
        self.pause = 0 if RESUMED or not ON_SLURM else pause
        self.taken = b"1" * (megabytes << 20) if ON_SLURM else b""

    def attend(self, *arguments):
        time.sleep(self.pause if self.training else 0)
        return super().attend(*arguments)
"""
OPTIONS = {
    "warned": {"pause": 0.3},
    "late": {"pause": 0.3},
    "cancelled": {"pause": 0.3},
    "greedy": {"megabytes": 2000},
}
FILES = {"metrics.json", "history.csv", "predictions.parquet", "model.safetensors"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with slurm.cluster(tmp_path_factory.mktemp("slurm") / "cluster") as environment:
        yield environment


def arena() -> dict[str, Any]:
    attentions = [{name: {"module": "method.py:Method", "options": options}} for name, options in OPTIONS.items()]
    config = configuration(attentions=attentions)
    train = LISTOPS["train"] | {"steps": 500, "evaluate_every": 10, "patience_steps": 500}
    config["scales"]["mini"] |= {"runtime": 1, "memory": 2000, "tasks": {"listops": LISTOPS | {"train": train}}}
    return config


def run_folder(checkout: Checkout, name: str) -> Path:
    return checkout.folder / "results/runs/mini/listops" / name / "seed-1"


def log(checkout: Checkout, name: str) -> str:
    path = checkout.folder / f"logs/mini/train/listops/{name}/seed-1.log"
    return path.read_text() if path.exists() else ""


def numbers(checkout: Checkout, name: str) -> pd.DataFrame:
    return pd.read_csv(run_folder(checkout, name) / "history.csv").drop(columns="seconds")


def attempts(cluster: dict[str, str], name: str) -> pd.DataFrame:
    """State, limit in minutes and memory of each job that trained with this attention, in order."""
    known = slurm.asked(cluster, "squeue", "--states=all", "--noheader", "--sort=i", "--format=%k %i %T %l %m")
    jobs = re.findall(rf"^rule_train_{name}_\S+ (\d+) (\w+) (\d+):00 (\d+)M$", known, re.MULTILINE)
    return pd.DataFrame(jobs, columns=["id", "state", "minutes", "memory"]).astype({"minutes": int, "memory": int})


def test_ended_by_slurm(cluster: dict[str, str], tmp_path: Path) -> None:
    local = Checkout.create(tmp_path / "local", arena())
    (local.folder / "method.py").write_text(METHOD)
    local.snakemake("data/mini/listops/manifest.json")
    there = SlurmCheckout(local.copy(tmp_path / "there").folder, cluster)
    # Slurm looks at its jobs' times twice a minute, and so warns 1 to 31 seconds before the limit.
    there.edit("workflow/profiles/slurm/config.yaml", "--signal=TERM@120", "--signal=TERM@1")
    resources = [f"train_{name}_listops:slurm_extra=''" for name in OPTIONS if name != "warned"]
    # Enough to be at work on a slow machine before they are ended.
    resources += [f"train_{name}_listops:runtime=attempt*5" for name in ("cancelled", "greedy")]
    runs = [str(run_folder(there, name).relative_to(there.folder) / "metrics.json") for name in OPTIONS]
    with there.running(*runs, "--set-resources", *resources) as run:
        slurm.wait_until(lambda: run.poll() is not None or "step 10:" in log(there, "cancelled"), seconds=300)
        assert run.poll() is None, there.said()
        subprocess.run(["scancel", attempts(cluster, "cancelled")["id"].iloc[-1]], env=cluster, check=True, timeout=20)
        local.snakemake(*runs[:1])
        assert run.wait(timeout=600) == 0, there.said()

    ends = {"warned": "FAILED", "late": "TIMEOUT", "cancelled": "CANCELLED", "greedy": "FAILED|OUT_OF_MEMORY"}
    for name, end in ends.items():
        jobs = attempts(cluster, name)
        assert re.fullmatch(end, jobs["state"].iloc[0]), f"{name}\n{jobs}\n{there.said()}"
        assert jobs["state"].iloc[-1] == "COMPLETED", f"{name}\n{jobs}"
        first = 1 if name in ("warned", "late") else 5
        assert list(jobs["minutes"]) == [first * (1 + n) for n in range(len(jobs))], f"{name}\n{jobs}"
        assert list(jobs["memory"]) == [2000 * (1 + n) for n in range(len(jobs))], f"{name}\n{jobs}"
        assert ("going on from step" in log(there, name)) == (name != "greedy"), log(there, name)
        assert {path.name for path in run_folder(there, name).iterdir()} == FILES
        pd.testing.assert_frame_equal(numbers(there, name), numbers(local, "warned"))
    assert "step 10:" in (there.folder / "output").read_text()  # the log of an attempt that ended too soon
