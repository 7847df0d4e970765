"""A run's folder: ``metrics.json``, ``history.csv``, ``predictions.parquet`` and ``model.safetensors`` (best weights).

``checkpoint/`` exists only while the run is unfinished. ``metrics.json`` is written last, so a folder that has one is
complete; it holds the checksums of the other files and of itself. A folder may come from anyone: code that it names
runs only if the reader trusts it, and the memory that it asks for is bounded.
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
"""Keys that every ``metrics.json`` must have, and their types."""
WITHOUT_WEIGHTS = "weights_left_out"
"""Key of ``metrics.json``: the checksum of weights that a merged run came without, see :mod:`lra.sharing.merge`."""

LARGEST = 1 << 20
"""Largest budget d, and largest number among an attention's options, that a folder may ask for."""


def made_of(experiment: Experiment, code: str, data: str, max_steps: int | None) -> dict[str, Any]:
    """The facts that decide the result of a run, as keys of ``metrics.json``.

    Args:
        experiment: settings and seed.
        code: fingerprint of the code.
        data: identity of the examples, see :class:`lra.data.shards.Shards`.
        max_steps: the run ends after so many steps; None, or a number that does not cut it short, for a full run.
    """
    cut = max_steps if max_steps is not None and max_steps < experiment.train.steps else None
    return {"settings": dataclasses.asdict(experiment), "max_steps": cut, "code": code, "data": data}


def run_key(made_of: Mapping[str, Any]) -> str:
    """Key of a run in the store: a digest of the facts that decide it, 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


def read_run(folder: Path, *, trust: bool = False) -> tuple[dict[str, Any], Experiment]:
    """The content of a run's ``metrics.json``, and the experiment that was trained.

    Args:
        folder: the run's folder.
        trust: whether to accept an attention that is neither in the registry nor in an installed package.

    Raises:
        LraError: the folder is not a finished run, its files do not belong together, the run ended without a result,
            or it names code that is not trusted.
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
        raise LraError(f"{folder} holds a pretraining, which predicts no labels; give the run that starts from it.")
    if not trust:
        _refuse_foreign_code(path, experiment.attention)
    refuse_sizes(folder, experiment)
    return metrics, experiment


def _refuse_foreign_code(path: Path, attention: AttentionSettings) -> None:
    """Refuse a class that is not in the registry: loading it would run code of the author of the folder."""
    where = attention.module or attention.name
    if where not in {*names(), *(resolve(name).path for name in names())}:
        raise LraError(
            f"{path} names {where!r}, which is not in the registry and would be run; if you trust it, give `--trust`, "
            "or `trust=True` in Python."
        )


def read_start(folder: Path, experiment: Experiment, data: str) -> dict[str, Any]:
    """The entry ``pretraining`` of a run's ``metrics.json``.

    ``weights`` is the checksum of the pretraining's weights, ``key`` its key in the store.

    Args:
        folder: folder of the pretraining.
        experiment: the run that starts from it.
        data: identity of the run's examples.

    Raises:
        LraError: the folder holds no finished pretraining, one without weights, or one of other settings or data.
    """
    metrics = read_metrics(folder / paths.METRICS, NEEDED)
    if WITHOUT_WEIGHTS in metrics:
        raise LraError(
            f"{folder} came from another machine without its weights; merge an archive made `--weights`, or pretrain "
            f"here after `lra clean {folder} --yes`."
        )
    refuse_foreign_run_files(folder, metrics)
    wanted = json.loads(json.dumps(dataclasses.asdict(pretraining(experiment))))
    if (metrics["settings"], metrics["data"]) != (wanted, data):
        raise LraError(f"{folder} is not the pretraining of these settings and data; omit --pretrained.")
    names = ("key", "status", "reason", "steps", "train_seconds", "dev_accuracy")
    return {"weights": metrics["files"][paths.WEIGHTS], **{name: metrics[name] for name in names}}


def refuse_sizes(folder: Path, experiment: Experiment, vocabulary: int = 0, length: int = 0) -> None:
    """Refuse settings whose model would take more memory than the weights of the folder can fill.

    Args:
        folder: the run's folder.
        experiment: its settings.
        vocabulary: number of token ids; 0 if it is not known yet.
        length: longest sequence; 0 if it is not known yet.

    Raises:
        LraError: the weights are missing, or fewer than the sizes need.
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
        raise LraError(f"{folder}: metrics.json describes a larger model than its weights fill; train this run again.")


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
    """Load the best weights of a run into a model.

    Raises:
        LraError: the file is missing or damaged, or belongs to another model.
    """
    weights = read_weights(folder)
    try:
        model.load_state_dict(weights)
    except RuntimeError as problem:
        raise _unreadable(folder, problem) from problem


def load_encoder(model: Model, folder: Path) -> None:
    """Load the weights of a pretraining into a model, which keeps its own head.

    Raises:
        LraError: the file is missing or damaged, or belongs to another model.
    """
    token_only = ("head.", "hidden")  # parameters of lra.model.TokenModel that a classifier has no use for
    encoder = {name: weight for name, weight in read_weights(folder).items() if not name.startswith(token_only)}
    head = {name: weight for name, weight in model.state_dict().items() if name.startswith("head.")}
    try:
        model.load_state_dict(encoder | head)
    except RuntimeError as problem:
        raise _unreadable(folder, problem) from problem


def _unreadable(folder: Path, problem: Exception) -> LraError:
    sentence = " ".join(str(problem).split())[:300]
    return LraError(f"{folder / 'model.safetensors'} cannot be read ({sentence}); train this run again.")
