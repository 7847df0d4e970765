"""One run, from its settings to its folder. :mod:`lra.training.run_folder` describes the folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors
import safetensors.torch
import torch

from lra import paths
from lra.config.settings import Experiment
from lra.data.shards import Shards, read_shards, verify
from lra.devices import default_device, machine, make_deterministic, peak_memory, prepare_cpu
from lra.errors import LraError, is_out_of_memory, reason_of
from lra.files import atomic_write, sealed, sha256, write_csv, write_json
from lra.model import build_model
from lra.tasks.contract import Split
from lra.training.budget import step_flops
from lra.training.checkpoint import Checkpoints
from lra.training.evaluation import Score, evaluate
from lra.training.objective import HiddenTokens, Labels
from lra.training.progress import Failed, Interrupted, Progress
from lra.training.run_folder import load_weights, made_of, read_run, read_start, run_key
from lra.training.trainer import Trainer

HISTORY = ("step", "seconds", "learning_rate", "train_loss", "dev_loss", "dev_accuracy")
"""Columns of ``history.csv``."""

MOST_THREADS = 4096
"""More threads than any machine has. A run from elsewhere that asks for more is refused, because it would crash."""


def train_run(
    experiment: Experiment,
    data: Path,
    out: Path,
    *,
    code: str,
    threads: int,
    checkpoint_seconds: float = 300,
    max_steps: int | None = None,
    start: Path | None = None,
) -> dict[str, Any]:
    """Train an experiment, from its checkpoint if there is one, and write its run folder.

    Args:
        experiment: settings and seed.
        data: folder of the prepared task.
        out: the run's folder.
        code: fingerprint of the code that runs.
        threads: CPU threads; another number changes rounding.
        checkpoint_seconds: time between checkpoints.
        max_steps: end after so many steps; ``metrics.json`` records this, and such a run is never averaged.
        start: folder of the pretraining that the run starts from, if its settings have one.

    Returns:
        The content of ``metrics.json``. ``status`` is ``ok``, or ``diverged``, ``oom`` or ``failed`` with a ``reason``.

    Raises:
        LraError, OSError: the environment is at fault (data, disk, a missing package), so that the run can be tried
            again.
        Interrupted: a signal stopped the run; the next call resumes from the checkpoint.
    """
    shards = read_shards(data)
    if shards.task.name != experiment.task:
        raise LraError(f"{data} holds the task {shards.task.name!r}, not {experiment.task!r}.")
    if experiment.train.batch > shards.rows("train"):
        raise LraError(f"{data} has {shards.rows('train')} training rows; make `batch` smaller in config.yaml.")
    verify(shards)
    out.mkdir(parents=True, exist_ok=True)
    prepare_cpu(threads)
    make_deterministic()
    device = default_device()
    decisive = made_of(experiment, code, shards.identity, max_steps)
    facts = {
        "task": experiment.task,
        "attention": experiment.attention.name,
        "seed": experiment.seed,
        **decisive,
        "key": run_key(decisive),
        "pretraining": read_start(start, experiment, shards.identity) if start else None,
        "data_settings": shards.provenance.get("settings"),
        "machine": machine(device, threads),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    started = time.monotonic()
    trainer: Trainer | None = None
    score: Score | None = None
    status, reason = "ok", ""
    checkpoints = Checkpoints(out / "checkpoint", _identity(facts))
    try:
        objective = _objective(experiment, shards, start, facts["pretraining"])
        trainer = Trainer(experiment, shards, device, checkpoints, checkpoint_seconds, max_steps, objective)
        score = trainer.run()
    except Failed as failure:
        status, reason = failure.status, str(failure)
    except (LraError, OSError, Interrupted):
        raise
    except Exception as failure:  # a method that crashes is a failed row of the table
        status, reason = "oom" if is_out_of_memory(failure) else "failed", reason_of(failure)  # or LraError, alone
        traceback.print_exc()
    metrics = {"status": status, "reason": reason, **facts, "wall_seconds": time.monotonic() - started}
    metrics |= _results(trainer, score, shards)
    metrics = _write(out, metrics, trainer, score)
    checkpoints.remove()
    return metrics


def _objective(
    experiment: Experiment, shards: Shards, start: Path | None, pretraining: dict[str, Any] | None
) -> Labels:
    """The objective of the run.

    Raises:
        Failed: the pretraining that the run starts from has failed.
    """
    if experiment.mask is not None:
        return HiddenTokens(experiment.mask, shards.task.vocabulary, experiment.seed)
    assert (start is None) == (experiment.pretrain is None)
    if pretraining and pretraining["status"] != "ok":
        raise Failed(pretraining["status"], f"in pretraining: {pretraining['reason']}")
    return Labels(start)


def _identity(facts: dict[str, Any]) -> str:
    """Digest of the facts that a checkpoint must share with the run that resumes from it."""
    decisive = {name: facts[name] for name in ("settings", "code", "data", "machine", "pretraining")}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _results(trainer: Trainer | None, score: Score | None, shards: Shards) -> dict[str, Any]:
    """The measured part of ``metrics.json``; None for each value that a failed run lacks."""
    results: dict[str, Any] = {"majority_accuracy": shards.majority("test"), "test_rows": shards.rows("test")}
    results["max_length"] = shards.task.max_length
    results |= {"test_accuracy": score.accuracy if score else None, "test_loss": score.loss if score else None}
    progress = trainer.progress if trainer else Progress()
    best = progress.best if progress.history else {}
    results |= {
        "dev_accuracy": best.get("dev_accuracy"),
        "dev_loss": best.get("dev_loss"),
        "best_step": best.get("step"),
        **progress.measurements(),
        "train_flops": None,
        "micro_batch": None,
        "parameters": None,
        "peak_memory_bytes": None,
    }
    if trainer:
        batches = progress.step + progress.skipped
        results["train_flops"] = batches * step_flops(trainer.model, shards.task, trainer.settings.batch)
        results["micro_batch"] = min(progress.micro_batch, trainer.settings.batch)
        results["parameters"] = sum(parameter.numel() for parameter in trainer.model.parameters())
        results["peak_memory_bytes"] = peak_memory(trainer.device)
    return results


def _write(out: Path, metrics: dict[str, Any], trainer: Trainer | None, score: Score | None) -> dict[str, Any]:
    """Write the folder; returns the content of ``metrics.json``, checksums included."""
    history = trainer.progress.history if trainer else []
    write_csv(out / paths.HISTORY, HISTORY, ([f"{row[name]:.10g}" for name in HISTORY] for row in history))
    nothing = np.zeros(0, dtype=np.uint8)
    columns = {
        "label": pa.array(score.label if score else nothing),
        "prediction": pa.array(score.prediction if score else nothing),
    }
    with atomic_write(out / paths.PREDICTIONS) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")
    with atomic_write(out / paths.WEIGHTS) as temporary:
        weights = trainer.best_weights if trainer else {}
        try:
            safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in weights.items()}, temporary)
        except safetensors.SafetensorError as problem:
            raise OSError(f"{out / 'model.safetensors'} cannot be written: {problem}") from problem
    metrics = sealed({**metrics, "files": {name: sha256(out / name) for name in paths.SEALED_FILES}})
    write_json(out / paths.METRICS, metrics)
    return metrics


def score_run(
    folder: Path, data: Path | None, split: Split, *, draws: int = 0, trust: bool = False
) -> tuple[dict[str, Any], list[Score]]:
    """Score the best weights of a finished run on a split.

    Args:
        folder: the run's folder.
        data: folder of the prepared task; None for the one in ``data/``.
        split: dev or test.
        draws: number of other sets of random numbers with which to score the weights as well.
        trust: whether to run the code of an attention that is not in the registry.

    Returns:
        The run's metrics, and the scores: first with the run's own random numbers, then one for each draw. If the
        attention uses no random numbers in evaluation, only the first.

    Raises:
        LraError: the folder is not a finished run, it names code that is not trusted, the data are not those it was
            trained on, or the class of its attention has moved.
    """
    metrics, experiment = read_run(folder, trust=trust)
    data = data or _trained_on(folder, metrics)
    shards = read_shards(data)
    if shards.identity != metrics["data"]:
        raise LraError(f"{data} is not the data that {folder} was trained on; prepare it again or give --data.")
    verify(shards)
    threads = metrics["machine"].get("threads")
    if not isinstance(threads, int) or not 1 <= threads <= MOST_THREADS:
        raise LraError(f"{folder / 'metrics.json'}: machine.threads is {threads!r}, not a number of threads.")
    prepare_cpu(threads)
    make_deterministic()
    device = default_device()
    try:
        torch.manual_seed(experiment.seed)
        model = build_model(shards.task, experiment.model, experiment.attention).to(device)
    except (ValueError, TypeError) as problem:
        raise LraError(f"{folder}: {problem}; run this in the folder that it was trained in.") from problem
    load_weights(model, folder)
    scores = [evaluate(model, shards, split, experiment.train, device)]
    for draw in range(draws):
        if model.redraw_evaluation(torch.Generator().manual_seed(draw)):
            scores.append(evaluate(model, shards, split, experiment.train, device))
    return metrics, scores


def _trained_on(folder: Path, metrics: dict[str, Any]) -> Path:
    """Folder of the prepared data, of any scale, that a run was trained on; their content identifies them.

    Raises:
        LraError: none of the prepared data are those of the run.
    """
    for data in paths.prepared(metrics["task"]):
        with contextlib.suppress(LraError):  # data of another scale may be damaged
            if read_shards(data).identity == metrics["data"]:
                return data
    raise LraError(
        f"{paths.shards('*', metrics['task'])} is not the data that {folder} was trained on; prepare it again or give "
        "--data."
    )
