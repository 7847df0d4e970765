"""The Containerfile installs what all environments pin, and `--sdm apptainer` runs every job in its image."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from workflow.arena import ROOT, Checkout, configuration

STAND_IN = Path(__file__).parent / "apptainer" / "bin"


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Containerfile and their arguments, continued lines joined."""
    lines = [line for line in (ROOT / "Containerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


def test_its_instructions() -> None:
    found = instructions()
    assert [name for name, _ in found] == ["ARG", "FROM", "ARG", "RUN", "COPY", "COPY", "RUN"]
    assert dict(rest.split("=") for name, rest in found if name == "ARG") == {"PYTHON": "3.11", "TORCH_INDEX": ""}
    assert dict(found)["FROM"] == "python:${PYTHON}-slim", "no host is named"
    for name, rest in found:
        if name == "COPY":
            assert (ROOT / rest.split()[0]).exists()
            assert f"!{rest.split()[0]}" in (ROOT / ".dockerignore").read_text().splitlines()


@pytest.mark.parametrize("index", ["", "an-index"])
def test_what_it_installs(tmp_path: Path, index: str) -> None:
    """Its last step is run, with a stand-in for pip that notes what it is asked for."""
    pip = tmp_path / "bin/pip"
    pip.parent.mkdir()
    pip.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    pip.chmod(0o755)
    (tmp_path / "envs").symlink_to(ROOT / "envs")
    command = instructions()[-1][1].replace("/build/", f"{tmp_path}/")
    environment = {"PATH": f"{pip.parent}:{os.environ['PATH']}", "TORCH_INDEX": index}
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=True)
    more = ["--extra-index-url", index] if index else []
    assert done.stdout.split() == [
        "install", "--no-cache-dir", *more, "--constraint", f"{tmp_path}/requirements.txt",
        "--requirement", f"{tmp_path}/pins.txt",
    ]  # fmt: skip
    pins = (tmp_path / "pins.txt").read_text().split()
    wanted = set()
    for env in (ROOT / "envs").glob("*.yaml"):
        wanted |= set(yaml.safe_load(env.read_text())["dependencies"][-1]["pip"])
    assert set(pins) == wanted and len(pins) == len(wanted), "an environment has another version"


@dataclasses.dataclass(frozen=True)
class ContainedCheckout(Checkout):
    """Runs where the stand-in for apptainer is found first, and the Python of the tests is not."""

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {
            "PATH": f"{STAND_IN}{os.pathsep}{os.environ['PATH']}",
            "STAND_IN_CALLS": str(self.folder / "calls"),
            "STAND_IN_PYTHON": str(Path(sys.executable).parent),
        }


@pytest.mark.slow
def test_jobs_run_in_the_image(tmp_path: Path) -> None:
    checkout = ContainedCheckout.create(tmp_path / "lra", configuration())
    (checkout.folder / "lra.sif").touch()
    checkout.snakemake("results/runs/mini/listops/vmean/seed-1/metrics.json", "--sdm", "apptainer")
    calls = (checkout.folder / "calls").read_text()
    assert calls.count("lra.sif") == 2 and "lra prepare" in calls and "lra train" in calls
    assert f"export PATH={Path(sys.executable).parent}" not in calls, "the host's Python hides the image's"
