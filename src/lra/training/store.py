"""The store of finished runs, ``results/store/<key>/``; the key is a digest of the facts that decide a run.

A run is trained in its folder of the store, with its ``checkpoint/``, and then its files are copied to their places.
Snakemake deletes the outputs of a job before it starts the job, and users edit files; both reach the copies only. Every
run is looked up here before it is trained, so returning to earlier settings trains nothing again.
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
"""File of the facts of which the folder's name is a digest: settings, code, data and ``max_steps``."""
ORIGIN = "origin.json"
"""File with the origin of a run that was trained elsewhere, see :mod:`lra.sharing.merge`."""


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
    """Copy a run from the store to ``out``; if the store does not hold it yet, train it there first, or resume it.

    A pretraining that the run starts from is a run of the store as well, and is trained first. If several processes
    want the same run, one trains it and the others wait.

    Args:
        experiment: settings and seed.
        data: folder of the prepared task.
        out: the run's folder; None to leave the run in the store only.
        code: fingerprint of the code that runs.
        threads: CPU threads.
        checkpoint_seconds: time between checkpoints.
        max_steps: end after so many steps.
        replace: whether ``out`` may replace the copy of another run that the store keeps.
        pretrained: folder of the pretraining; None for the one of the store, trained first if the store lacks it.
        store: folder of the store.

    Returns:
        The content of ``metrics.json``.

    Raises:
        LraError: ``out`` holds another finished run; and as :func:`lra.training.run.train_run`.
        OSError, Interrupted: as :func:`lra.training.run.train_run`; finished runs and checkpoints are kept.
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
            print(
                f"taken from {entry}, where it was trained before; `lra clean {out or entry}` lets it be trained again"
            )
        else:
            options: dict[str, Any] = {
                "code": code,
                "threads": threads,
                "checkpoint_seconds": checkpoint_seconds,
                "max_steps": max_steps,
            }
            if experiment.pretrain and pretrained is None:
                print("pretraining comes first", flush=True)
                first = train_stored(pretraining(experiment), data, None, store=store, **options)
                pretrained = store / first["key"]
            (entry / ORIGIN).unlink(missing_ok=True)  # left by a damaged run that came from elsewhere
            write_json(entry / MADE_OF, decisive)
            try:
                with own_gpu():
                    metrics = train_run(experiment, data, entry, start=pretrained, **options)
            finally:
                if [path.name for path in entry.iterdir()] == [MADE_OF]:  # there is no checkpoint to resume from
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
    """Refuse to write over another finished run, unless ``replace`` allows it and the store keeps that run."""
    try:
        held = read_json(out / "metrics.json").get("key", "")
    except (LraError, AttributeError):  # it is missing, or damaged
        return
    if held != key and not (replace and held and (store / held / "metrics.json").is_file()):
        raise LraError(
            f"{out} holds another finished run, with other settings, code or data; give another --out, or delete it."
        )


def in_use(entry: Path) -> bool:
    """Whether a process holds ``file_lock(entry)``. The guard of a killed process stays as a file that nobody locks."""
    try:
        with entry.with_name(f".{entry.name}.guard").open("r+") as guard:
            return not lock(guard, wait=False)
    except FileNotFoundError:
        return False


def _finished(entry: Path, key: str) -> dict[str, Any] | None:
    """The ``metrics.json`` of a finished run in the store; None if the run is not there or is damaged."""
    if not (entry / "metrics.json").exists():
        return None
    try:
        metrics = read_metrics(entry / "metrics.json", NEEDED)
        if metrics.get("key") != key:
            raise LraError(f"{entry / 'metrics.json'} belongs to another run.")
        for name in paths.SEALED_FILES:
            if not (entry / name).is_file():
                raise LraError(f"{entry / name} is missing.")
        refuse_foreign_run_files(entry, metrics)
    except LraError as problem:
        print(f"warning: {problem} The run is trained again.", file=sys.stderr, flush=True)
        (entry / "metrics.json").unlink()
        return None
    return metrics


def copy_run(entry: Path, out: Path) -> None:
    """Copy a finished run's files to ``out``, ``metrics.json`` last. Links would let an edit there reach the store."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "metrics.json").unlink(missing_ok=True)
    for name in (*paths.SEALED_FILES, paths.METRICS):
        with atomic_write(out / name) as temporary:
            shutil.copyfile(entry / name, temporary)


def remove_entry(entry: Path) -> None:
    """Remove a run from the store, ``metrics.json`` first, so that a partly removed folder does not look finished."""
    with file_lock(entry), contextlib.suppress(FileNotFoundError):
        (entry / "metrics.json").unlink(missing_ok=True)
        shutil.rmtree(entry)
