"""Merge runs that were trained elsewhere into the store and the results of this arena.

The key of a run in the store is a digest of settings, code and data. A merged run is therefore the same run that would
be trained here, and ``lra train`` finds it in the store. Runs with other settings, code or data are refused, or kept in
a separate folder that no rule reads.

Pretrainings are runs of their own, and so are the tries of a learning rate. The record of a choice is not taken from
elsewhere: it is written here as soon as all tries of its cell are here.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import safetensors.torch

from lra import paths
from lra.errors import LraError
from lra.files import atomic_write, file_lock, read_json, sealed, sha256, write_json
from lra.results.choosing import choose
from lra.results.reading import Run
from lra.sharing.archive import is_archive, unpack
from lra.sharing.foreign_runs import (
    FOLDER_NAME,
    Place,
    Places,
    accuracy_name,
    find_runs,
    is_pretraining,
    read_complete_run,
)
from lra.training.run_folder import WITHOUT_WEIGHTS
from lra.training.store import MADE_OF, ORIGIN, copy_run, in_use, refuse_other_run


class Outcome(NamedTuple):
    """What ``merge`` did with a run, and the reason."""

    run: str
    action: Literal["merged", "present", "apart", "skipped", "refused"]
    reason: str


def merge(
    source: Path, config: Sequence[str], *, apart: str | None = None, store: Path = paths.STORE
) -> Iterator[Outcome]:
    """Merge the runs of a folder or an archive into this arena.

    Args:
        source: an archive, or a folder with runs at any depth.
        config: files and settings of this arena; config.yaml if empty.
        apart: name of a folder in results/apart for runs with other settings, code or data; None to refuse them.
        store: folder of stored runs.

    Yields:
        The outcome of each distinct run.

    Raises:
        LraError: the archive is damaged, there is no run, or the configuration is invalid.
    """
    if apart is not None and not FOLDER_NAME.fullmatch(apart):
        raise LraError(f"--apart {apart} is not allowed as the name of a folder; give letters and digits.")
    places = Places(config)
    with tempfile.TemporaryDirectory(prefix="lra-merge-") as temporary:
        folder = source
        if is_archive(source):
            folder = Path(temporary)
            unpack(source, folder)
        seen: set[tuple[str, str]] = set()
        for path in sorted(find_runs(folder), key=lambda path: _rank(path, places)):
            name = str(path) if folder is source else f"{source}: run {path.name}"
            try:
                run = read_complete_run(path)
                if (identity := (run.metrics["key"], run.metrics["checksum"])) in seen:
                    continue
                seen.add(identity)
                kind = ", pretraining" if is_pretraining(run.metrics) else ""
                name = f"{name} ({run.task} {run.attention} seed {run.metrics['seed']}{kind})"
                yield Outcome(name, *_merge_run(run, source, places, apart, store))
            except LraError as problem:
                yield Outcome(name, "refused", str(problem))


def _rank(folder: Path, places: Places) -> int:
    """The place of a run in the order of merging; the last for one that cannot be read, which is refused later."""
    with contextlib.suppress(LraError, KeyError, TypeError, AttributeError):
        return places.rank(read_json(folder / paths.METRICS))
    return 3


def _merge_run(run: Run, source: Path, places: Places, apart: str | None, store: Path) -> tuple[Any, str]:
    """Merge one run; returns the action and the reason of its outcome."""
    if run.metrics["max_steps"] is not None:
        return "skipped", f"cut short at {run.metrics['max_steps']} steps"
    try:
        place = places.find(run)
        _refuse_differences(run, place)
    except LraError as problem:
        if apart is None:
            raise
        if is_pretraining(run.metrics):
            return "skipped", f"no run here can start from it: {problem}"
        return "apart", f"in {_keep_apart(run, source, apart)}: {problem}"
    entry = store / run.metrics["key"]
    refuse_other_run(place.folder, run.metrics["key"], store, replace=True)
    if in_use(entry):
        raise LraError(f"a run is being trained in {entry}; merge again when it is done.")
    with file_lock(entry):
        if (entry / paths.METRICS).is_file() and not _completes(run, entry):
            action, reason = "present", _compare(run, entry)
        else:
            _store(run, source, entry)
            action, reason = "merged", f"in {entry}"
        if place.data is None:
            return action, f"{reason}; its data are not prepared here, so snakemake will take it from there"
        copy_run(entry, place.folder)
    if place.is_try:
        _choose(place)
    return action, f"{reason}, copied to {place.folder}{'' if place.requested else '; add its seed to `seeds`'}"


def _refuse_differences(run: Run, place: Place) -> None:
    if run.metrics["code"] != place.code:
        raise LraError("it was trained by other code than this; check out the same commit on both machines.")
    if place.data not in (None, run.metrics["data"]):
        raise LraError(f"it was trained on other examples than {paths.shards(place.scale, run.task)} holds.")


def _choose(place: Place) -> None:
    """Record the choice of a cell's learning rate if all its tries are here."""
    folder = place.folder.parent
    tries = [folder / name / paths.METRICS for name in place.tries]
    if all(path.is_file() for path in tries):
        # Tries of other code or data, from before, make no choice: Snakemake repeats them.
        with contextlib.suppress(LraError):
            choose(tries, paths.choice(place.scale, place.experiment.task, place.experiment.attention.name))


def _completes(run: Run, entry: Path) -> bool:
    """Whether the store has the same run without weights, and this one has them."""
    missing_weights = read_json(entry / paths.METRICS).get(WITHOUT_WEIGHTS)
    return (run.folder / paths.WEIGHTS).is_file() and missing_weights == run.metrics["files"].get(paths.WEIGHTS)


def _compare(run: Run, entry: Path) -> str:
    """Compare a run with the stored one, which is kept: one seed trained twice is no second sample."""
    origin = read_json(entry / ORIGIN) if (entry / ORIGIN).is_file() else {}
    stored = read_json(entry / paths.METRICS)
    if run.metrics["checksum"] in (stored["checksum"], origin.get("checksum")):
        return f"{entry} has it"
    name = accuracy_name(run.metrics)
    return (
        f"{entry} has this run from another machine or attempt, with a {name.replace('_', ' ')} of {stored[name]}; "
        f"the run with {run.metrics[name]} is left out"
    )


def _store(run: Run, source: Path, entry: Path) -> None:
    """Copy a run into the store; ``metrics.json`` is written last, so that an interrupted copy is incomplete."""
    metrics = run.metrics
    shutil.rmtree(entry / "checkpoint", ignore_errors=True)
    write_json(entry / MADE_OF, {name: metrics[name] for name in ("settings", "max_steps", "code", "data")})
    origin = _origin(run, source)
    write_json(entry / ORIGIN, origin)
    for name in paths.SEALED_FILES:
        if (run.folder / name).is_file():
            _copy(run.folder / name, entry / name)
    if not origin["weights"]:
        # Snakemake expects this file. It has no tensors, like that of a failed run, so nothing can load it as a model.
        with atomic_write(entry / paths.WEIGHTS) as temporary:
            safetensors.torch.save_file({}, temporary)
        files = metrics["files"] | {paths.WEIGHTS: sha256(entry / paths.WEIGHTS)}
        metrics = sealed(
            {**metrics, "files": files, WITHOUT_WEIGHTS: metrics.get(WITHOUT_WEIGHTS, metrics["files"][paths.WEIGHTS])}
        )
        write_json(entry / paths.METRICS, metrics)
    else:
        _copy(run.folder / paths.METRICS, entry / paths.METRICS)


def _origin(run: Run, source: Path) -> dict[str, Any]:
    """Content of ``origin.json``: the source of a run, and the checksum of its original ``metrics.json``."""
    return {
        "from": str(source.resolve()),
        "merged": datetime.now(UTC).isoformat(timespec="seconds"),
        "checksum": run.metrics["checksum"],
        "weights": (run.folder / paths.WEIGHTS).is_file(),
    }


def _keep_apart(run: Run, source: Path, name: str) -> Path:
    """Copy a run to ``results/apart/<name>``; returns its folder."""
    out = paths.apart_run(name, run.task, run.attention, run.metrics["seed"])
    if (out / paths.METRICS).is_file():
        if read_json(out / paths.METRICS)["checksum"] == run.metrics["checksum"]:
            return out
        raise LraError(f"{out} contains another run; give another name to --apart.")
    write_json(out / ORIGIN, _origin(run, source))
    for file in (*paths.SEALED_FILES, paths.METRICS):
        if (run.folder / file).is_file():
            _copy(run.folder / file, out / file)
    return out


def _copy(source: Path, target: Path) -> None:
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)
