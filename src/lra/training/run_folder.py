"""A run's folder: ``metrics.json``, ``history.csv``, ``predictions.parquet`` and ``model.safetensors`` (best weights).

``checkpoint/`` is there only while a run is unfinished. ``metrics.json`` is written last, so that a folder with one is
complete; it holds the checksums of the other files and of itself. A folder may come from anyone: nothing that it names
is run unless the reader trusts it, and what it asks memory for is bounded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from lra import paths
from lra.attention.registry import names, resolve
from lra.config.mapping import from_mapping
from lra.config.pretraining import pretraining
from lra.config.settings import AttentionSettings, Experiment
from lra.errors import LraError
from lra.files import read_metrics, refuse_foreign_run_files
from lra.model import Model

NEEDED = {
    "status": str, "reason": str, "task": str, "attention": str, "seed": int, "settings": dict, "data": str,
    "machine": dict,
}  # fmt: skip

WITHOUT_WEIGHTS = "weights_left_out"
"""Key of ``metrics.json``: the checksum of weights that did not come with a run, see :mod:`lra.sharing.merge`."""

LARGEST = 1 << 20
"""No budget d and no number among an attention's options is larger."""


def made_of(experiment: Experiment, code: str, data: str, max_steps: int | None) -> dict[str, Any]:
    """What a run follows from, as ``metrics.json`` says it.

    Args:
        experiment: its settings and seed.
        code: fingerprint of the code.
        data: identity of the examples, see :class:`lra.data.shards.Shards`.
        max_steps: the most steps that it may take; no fewer than those of the settings are the same as None.
    """
    cut = max_steps if max_steps is not None and max_steps < experiment.train.steps else None
    return {"settings": dataclasses.asdict(experiment), "max_steps": cut, "code": code, "data": data}


def run_key(made_of: Mapping[str, Any]) -> str:
    """Name of what a run follows from, 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


def read_run(folder: Path, *, trust: bool = False) -> tuple[dict[str, Any], Experiment]:
    """What ``metrics.json`` says of a run, and what was trained.

    Args:
        folder: the run's folder.
        trust: whether the class of an attention may be one that neither this package nor an installed one lists.

    Raises:
        LraError: the folder is no finished run, its files do not belong together, the run ended without a result, or
            it names code that is not trusted.
    """
    path = folder / paths.METRICS
    metrics = read_metrics(path, NEEDED)
    if metrics["status"] != "ok":
        raise LraError(f"{folder} has no trained weights: the run ended as {metrics['status']} ({metrics['reason']}).")
    if WITHOUT_WEIGHTS in metrics:
        raise LraError(f"{folder} came from another machine without its weights; merge an archive made `--weights`.")
    refuse_foreign_run_files(folder, metrics)
    experiment = from_mapping(Experiment, metrics["settings"], f"{path}: settings")
    if experiment.mask is not None:
        raise LraError(f"{folder} holds a pretraining, which knows no labels; give the run that starts from it.")
    if not trust:
        _refuse_foreign_code(path, experiment.attention)
    refuse_sizes(folder, experiment)
    return metrics, experiment


def _refuse_foreign_code(path: Path, attention: AttentionSettings) -> None:
    """A class that only the run names would run the code of whoever wrote the folder."""
    where = attention.module or attention.name
    if where not in {*names(), *(resolve(name).path for name in names())}:
        raise LraError(
            f"{path} names {where!r}, code that is no method of the registry and would be run; if you trust it, say "
            "`--trust`, or `trust=True` in Python."
        )


def read_start(folder: Path, experiment: Experiment, data: str) -> dict[str, Any]:
    """What ``metrics.json`` of a run says of the pretraining that it starts from.

    ``weights`` is the checksum of its weights; ``key`` names it in the store.

    Raises:
        LraError: the folder holds no finished pretraining, or one of other settings or data.
    """
    metrics = read_metrics(folder / paths.METRICS, NEEDED)
    refuse_foreign_run_files(folder, metrics)
    wanted = json.loads(json.dumps(dataclasses.asdict(pretraining(experiment))))
    if (metrics["settings"], metrics["data"]) != (wanted, data):
        raise LraError(f"{folder} is no pretraining of these settings and data; leave --pretrained out.")
    names = ("key", "status", "reason", "steps", "train_seconds", "dev_accuracy")
    return {"weights": metrics["files"][paths.WEIGHTS], **{name: metrics[name] for name in names}}


def refuse_sizes(folder: Path, experiment: Experiment, vocabulary: int = 0, length: int = 0) -> None:
    """Refuse settings by which a model would take more memory than the weights that it is to be filled with.

    Args:
        folder: the run's folder.
        experiment: its settings.
        vocabulary: number of token ids, as far as the folder says it.
        length: longest sequence, as far as the folder says it.

    Raises:
        LraError: the weights are missing or fewer than the sizes need.
    """
    sizes, attention = experiment.model, experiment.attention
    try:
        held = (folder / "model.safetensors").stat().st_size // 4
    except OSError as problem:
        raise _unreadable(folder, problem) from problem
    # Token and position embeddings; the two matrices of an MLP, and query, value and output of an attention.
    inner = 2 * sizes.hidden + 3 * sizes.heads * sizes.head_dim
    positions = length if sizes.positions == "learned" else 0
    needed = sizes.embedding * (vocabulary + positions + sizes.layers * inner)
    budgets = [
        abs(value) for value in (attention.features, *attention.options.values()) if isinstance(value, int | float)
    ]
    if needed > held or max(budgets) > LARGEST:
        raise LraError(f"{folder}: metrics.json asks for another model than its weights are of; train this run again.")


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


def load_encoder(model: Model, folder: Path) -> None:
    """Give a model the weights of a pretraining, but for its own head.

    Raises:
        LraError: the file is missing, damaged or another model's.
    """
    left_behind = ("head.", "hidden")  # of lra.model.TokenModel
    encoder = {name: weight for name, weight in read_weights(folder).items() if not name.startswith(left_behind)}
    head = {name: weight for name, weight in model.state_dict().items() if name.startswith("head.")}
    try:
        model.load_state_dict(encoder | head)
    except RuntimeError as problem:
        raise _unreadable(folder, problem) from problem


def _unreadable(folder: Path, problem: Exception) -> LraError:
    sentence = " ".join(str(problem).split())[:300]
    return LraError(f"{folder / 'model.safetensors'} cannot be read ({sentence}); train this run again.")
