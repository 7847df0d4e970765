"""Finished runs, kept under what they were made of: ``results/store/<key>/``.

A run is trained in its folder of the store, with its ``checkpoint/``, and its files are then copied to where they are
wanted. Snakemake deletes a job's outputs before it starts the job, which here are copies: neither that, nor an edit
there, nor going to other settings and back loses a finished run. It is looked up before anything is trained.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lra import paths
from lra.config.pretraining import pretraining
from lra.config.settings import Experiment
from lra.data.shards import read_shards
from lra.devices import own_gpu
from lra.errors import LraError
from lra.files import atomic_write, file_lock, lock, read_json, read_metrics, refuse_foreign_run_files, write_json
from lra.training.run import train_run
from lra.training.run_folder import NEEDED, made_of, run_key

MADE_OF = "made_of.json"
"""Settings, code, data and where it was cut short: what the folder's name is a digest of."""
ORIGIN = "origin.json"
"""Where a run that was trained elsewhere came from, see :mod:`lra.sharing.merge`."""


def train_stored(
    experiment: Experiment,
    data: Path,
    out: Path | None,
    *,
    code: str,
    threads: int,
    checkpoint_seconds: float = 300,
    max_steps: int | None = None,
    replace: bool = False,
    pretrained: Path | None = None,
    store: Path = paths.STORE,
) -> dict[str, Any]:
    """Put a run's files into ``out``: from the store if it holds the run, else trained there, or gone on with.

    A pretraining that the run starts from is a run of the store as well, and comes first.

    Of several processes that want the same run, one trains it and the others wait.

    Args:
        experiment: what is trained.
        data: folder of the prepared task.
        out: the run's folder; None for none but that of the store.
        code: fingerprint of the code that runs.
        threads: CPU threads.
        checkpoint_seconds: time between checkpoints.
        max_steps: end after so many steps.
        replace: whether ``out`` may take the place of another run that the store keeps.
        pretrained: folder of the pretraining; None for that of the store, trained first where it is not there.
        store: where finished runs are kept.

    Returns:
        What ``metrics.json`` says.

    Raises:
        LraError: ``out`` holds another finished run; and as :func:`lra.training.run.train_run`.
        OSError, Interrupted: as :func:`lra.training.run.train_run`; what was finished, and a checkpoint, is kept.
    """
    decisive = made_of(experiment, code, read_shards(data).identity, max_steps)
    entry = store / (key := run_key(decisive))
    with contextlib.ExitStack() as locks:
        if out is not None:
            locks.enter_context(lock_place(out, store))
            refuse_other_run(out, key, store, replace)
        if in_use(entry):
            print(f"{entry} is in use: waiting for the process that trains this run", file=sys.stderr, flush=True)
        locks.enter_context(file_lock(entry))
        metrics = _finished(entry, key)
        if metrics:
            print(f"taken from {entry}, where it was trained before; `lra clean {out or entry}` has it trained anew")
        else:
            how: dict[str, Any] = {
                "code": code,
                "threads": threads,
                "checkpoint_seconds": checkpoint_seconds,
                "max_steps": max_steps,
            }
            if experiment.pretrain and pretrained is None:
                print("pretraining comes first", flush=True)
                first = train_stored(pretraining(experiment), data, None, store=store, **how)
                pretrained = store / first["key"]
            (entry / ORIGIN).unlink(missing_ok=True)  # of a damaged run that had come from elsewhere
            write_json(entry / MADE_OF, decisive)
            try:
                with own_gpu():
                    metrics = train_run(experiment, data, entry, start=pretrained, **how)
            finally:
                if [path.name for path in entry.iterdir()] == [MADE_OF]:  # nothing to go on from
                    shutil.rmtree(entry)
        if out is not None:
            copy_run(entry, out)
    return metrics


@contextlib.contextmanager
def lock_place(out: Path, store: Path) -> Iterator[None]:
    """Wait until no other process trains a run for the folder ``out``."""
    place = store / hashlib.sha256(os.fsencode(out.resolve())).hexdigest()[:16]
    if in_use(place):
        print(f"{out} is in use: waiting for the process that trains a run there", file=sys.stderr, flush=True)
    with file_lock(place):
        yield


def refuse_other_run(out: Path, key: str, store: Path, replace: bool) -> None:
    """Refuse to let a run take the place of another one, unless ``replace`` says so and the store keeps that one."""
    try:
        held = read_json(out / "metrics.json").get("key", "")
    except (LraError, AttributeError):  # not there, or no finished run
        return
    if held != key and not (replace and held and (store / held / "metrics.json").is_file()):
        raise LraError(
            f"{out} holds another finished run, of other settings, code or data; give another --out, or delete it."
        )


def in_use(entry: Path) -> bool:
    """Whether a process is inside ``file_lock(entry)``. Nobody holds the guard that a killed one left."""
    try:
        with entry.with_name(f".{entry.name}.guard").open("r+") as guard:
            return not lock(guard, wait=False)
    except FileNotFoundError:
        return False


def _finished(entry: Path, key: str) -> dict[str, Any] | None:
    """What ``metrics.json`` of a finished run in the store says; None where it is not there, or damaged."""
    if not (entry / "metrics.json").exists():
        return None
    try:
        metrics = read_metrics(entry / "metrics.json", NEEDED)
        if metrics.get("key") != key:
            raise LraError(f"{entry / 'metrics.json'} is another run's.")
        for name in paths.SEALED_FILES:
            if not (entry / name).is_file():
                raise LraError(f"{entry / name} is missing.")
        refuse_foreign_run_files(entry, metrics)
    except LraError as problem:
        print(f"warning: {problem} It is trained anew.", file=sys.stderr, flush=True)
        (entry / "metrics.json").unlink()
        return None
    return metrics


def copy_run(entry: Path, out: Path) -> None:
    """Copy a finished run's files into ``out``, ``metrics.json`` last. An edit there would change a linked file too."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "metrics.json").unlink(missing_ok=True)
    for name in (*paths.SEALED_FILES, paths.METRICS):
        with atomic_write(out / name) as temporary:
            shutil.copyfile(entry / name, temporary)


def remove_entry(entry: Path) -> None:
    """Remove a run from the store, ``metrics.json`` first, so that no folder half gone looks finished."""
    with file_lock(entry), contextlib.suppress(FileNotFoundError):
        (entry / "metrics.json").unlink(missing_ok=True)
        shutil.rmtree(entry)
