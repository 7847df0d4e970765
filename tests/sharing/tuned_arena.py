"""An arena with a tuned, pretrained cell, as the workflow leaves it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.workflow.arena import configuration

from lra.cli.main import main
from lra.config.arena import load
from lra.config.mapping import as_mapping

ROW = "vmean_pretrained"
RUN = Path(f"results/runs/mini/listops/{ROW}/seed-1")
TRIES = Path(f"results/tune/mini/listops/{ROW}")
PRETRAININGS = Path(f"results/pretrain/mini/listops/{ROW}")


def tuned_and_pretrained() -> dict[str, Any]:
    """The configuration: one row, two learning rates."""
    config = copy.deepcopy(configuration())
    scale = config["scales"]["mini"]
    scale["tune"] = {"learning_rate": [1e-3, 1e-2], "steps": 2, "seed": 9}
    block = {"mask": 0.1, "batch": 16, "learning_rate": 1e-3, "warmup": 1, "steps": 2, "evaluate_every": 2}
    scale["tasks"]["listops"]["pretrain"] = block
    return config | {"attentions": [{ROW: {"method": "vmean", "pretrain": True}}]}


def make_arena(folder: Path) -> Path:
    """Prepare the task, try both rates, choose one and train a run; returns the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("config.yaml").write_text(yaml.safe_dump(tuned_and_pretrained()))
        assert main(["prepare", "listops", "--workers", "1"]) == 0
        metrics = []
        for name, experiment in load(Path("config.yaml")).tries(ROW, "listops").items():
            settings = json.dumps(as_mapping(experiment, leave_out="seed"))
            given = ["--settings", settings, "--seed", "9", "--data", "data/mini/listops", "--threads", "1"]
            assert main(["train", *given, "--out", str(TRIES / name)]) == 0
            metrics.append(str(TRIES / name / "metrics.json"))
        assert main(["choose", "--metrics", *metrics, "--out", str(TRIES / "choice.json")]) == 0
        assert main(["train", "--attention", ROW, "--task", "listops", "--threads", "1", "--out", str(RUN)]) == 0
    return folder
