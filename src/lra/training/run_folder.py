"""What a finished run has left: its settings and its best weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from lra import paths
from lra.config.mapping import from_mapping
from lra.config.settings import Experiment
from lra.errors import LraError
from lra.files import read_metrics
from lra.model import Model

NEEDED = {
    "status": str, "reason": str, "task": str, "attention": str, "seed": int, "settings": dict, "data": str,
    "machine": dict,
}  # fmt: skip


def read_run(folder: Path) -> tuple[dict[str, Any], Experiment]:
    """What ``metrics.json`` says of a run, and what was trained.

    Raises:
        LraError: the folder is no finished run, or the run ended without a result.
    """
    path = folder / paths.METRICS
    metrics = read_metrics(path, NEEDED)
    if metrics["status"] != "ok":
        raise LraError(f"{folder} has no trained weights: the run ended as {metrics['status']} ({metrics['reason']}).")
    return metrics, from_mapping(Experiment, metrics["settings"], f"{path}: settings")


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The best weights of a run by name.

    Raises:
        LraError: the file is missing or damaged.
    """
    try:
        return safetensors.torch.load((folder / paths.WEIGHTS).read_bytes())
    except (OSError, safetensors.SafetensorError) as problem:
        raise _unreadable(folder, problem) from problem


def load_weights(model: Model, folder: Path) -> None:
    """Give a model the best weights of a run.

    Raises:
        LraError: the file is missing, damaged or another model's.
    """
    weights = read_weights(folder)
    try:
        model.load_state_dict(weights)
    except RuntimeError as problem:
        raise _unreadable(folder, problem) from problem


def _unreadable(folder: Path, problem: Exception) -> LraError:
    sentence = " ".join(str(problem).split())[:300]
    return LraError(f"{folder / 'model.safetensors'} cannot be read ({sentence}); train this run again.")
