"""Runs that were trained elsewhere, taken into the store and into the places where the workflow wants them.

The store's key is a digest of settings, code and data, so a run that is taken in is the very run that would be trained
here, and ``lra train`` finds it whenever Snakemake asks for it. Runs that differ in one of these are refused, or kept
apart in a folder that no rule reads.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import safetensors.torch

from lra import paths
from lra.errors import LraError
from lra.files import atomic_write, file_lock, read_json, sealed, sha256, write_json
from lra.results.reading import Run
from lra.sharing.archive import is_archive, unpack
from lra.sharing.found import NAME, Place, Places, find_runs, read_whole
from lra.training.run_folder import WITHOUT_WEIGHTS
from lra.training.store import MADE_OF, ORIGIN, copy_run, in_use, refuse_other_run


class Outcome(NamedTuple):
    """What became of a run, and why."""

    run: str
    became: Literal["taken", "had", "apart", "skipped", "refused"]
    why: str


def merge(given: Path, config: Path, *, apart: str | None = None, store: Path = paths.STORE) -> Iterator[Outcome]:
    """Take the runs of a folder or an archive into this arena.

    Args:
        given: a folder, at or below which runs are, or an archive.
        config: the configuration, which says what runs there are.
        apart: folder's name in results/apart for runs of other settings, code or data; None to refuse them.
        store: where finished runs are kept.

    Yields:
        What became of each run, a run that is given twice once.

    Raises:
        LraError: the archive is damaged, there is no run, or the configuration is wrong.
    """
    if apart is not None and not NAME.fullmatch(apart):
        raise LraError(f"--apart {apart} cannot be the name of a folder; give letters and digits.")
    places = Places(config)
    with tempfile.TemporaryDirectory(prefix="lra-merge-") as temporary:
        folder = given
        if is_archive(given):
            folder = Path(temporary)
            unpack(given, folder)
        seen: set[tuple[str, str]] = set()
        for path in find_runs(folder):
            name = str(path) if folder is given else f"{given}: run {path.name}"
            try:
                run = read_whole(path)
                if (same := (run.metrics["key"], run.metrics["checksum"])) in seen:
                    continue
                seen.add(same)
                name = f"{name} ({run.task} {run.attention} seed {run.metrics['seed']})"
                yield Outcome(name, *_merge_run(run, given, places, apart, store))
            except LraError as problem:
                yield Outcome(name, "refused", str(problem))


def _merge_run(run: Run, given: Path, places: Places, apart: str | None, store: Path) -> tuple[Any, str]:
    if run.metrics["max_steps"] is not None:
        return "skipped", f"cut short at {run.metrics['max_steps']} steps"
    try:
        place = places.of(run)
        _refuse_differences(run, place)
    except LraError as problem:
        if apart is None:
            raise
        return "apart", f"in {_keep_apart(run, given, apart)}: {problem}"
    entry = store / run.metrics["key"]
    refuse_other_run(place.folder, run.metrics["key"], store, replace=True)
    if in_use(entry):
        raise LraError(f"a run is being trained in {entry}; merge again when it is done.")
    with file_lock(entry):
        if (entry / paths.METRICS).is_file() and not _completes(run, entry):
            became, why = "had", _compared(run, entry)
        else:
            _store(run, given, entry)
            became, why = "taken", f"in {entry}"
        if place.data is None:
            return became, f"{why}; its data are not prepared here, so snakemake will take it from there"
        copy_run(entry, place.folder)
    return became, f"{why}, copied to {place.folder}{'' if place.asked else '; add its seed to `seeds`'}"


def _refuse_differences(run: Run, place: Place) -> None:
    if run.metrics["code"] != place.code:
        raise LraError("the code that trained it is not the code here; check out the same commit on both machines.")
    if place.data not in (None, run.metrics["data"]):
        raise LraError(f"it was trained on other examples than {paths.shards(place.scale, run.task)} holds.")


def _completes(run: Run, entry: Path) -> bool:
    """Whether the store has this very run, but without the weights that come now."""
    left_out = read_json(entry / paths.METRICS).get(WITHOUT_WEIGHTS)
    return (run.folder / paths.WEIGHTS).is_file() and left_out == run.metrics["files"].get(paths.WEIGHTS)


def _compared(run: Run, entry: Path) -> str:
    """What the store holds already, which stays: one seed trained twice is no second sample."""
    origin = read_json(entry / ORIGIN) if (entry / ORIGIN).is_file() else {}
    held = read_json(entry / paths.METRICS)
    if run.metrics["checksum"] in (held["checksum"], origin.get("checksum")):
        return f"{entry} has it"
    return (
        f"{entry} has this run, of another machine or attempt: test accuracy {held['test_accuracy']} there, "
        f"{run.metrics['test_accuracy']} in the one that is left out"
    )


def _store(run: Run, given: Path, entry: Path) -> None:
    """Copy a run into the store, ``metrics.json`` last."""
    metrics = run.metrics
    shutil.rmtree(entry / "checkpoint", ignore_errors=True)
    write_json(entry / MADE_OF, {name: metrics[name] for name in ("settings", "max_steps", "code", "data")})
    origin = _origin(run, given)
    write_json(entry / ORIGIN, origin)
    for name in paths.SEALED_FILES:
        if (run.folder / name).is_file():
            _copy(run.folder / name, entry / name)
    if not origin["weights"]:
        # A rule promises this file; without tensors, as that of a failed run, nothing can take it for a model.
        with atomic_write(entry / paths.WEIGHTS) as temporary:
            safetensors.torch.save_file({}, temporary)
        files = metrics["files"] | {paths.WEIGHTS: sha256(entry / paths.WEIGHTS)}
        metrics = sealed(
            {**metrics, "files": files, WITHOUT_WEIGHTS: metrics.get(WITHOUT_WEIGHTS, metrics["files"][paths.WEIGHTS])}
        )
        write_json(entry / paths.METRICS, metrics)
    else:
        _copy(run.folder / paths.METRICS, entry / paths.METRICS)


def _origin(run: Run, given: Path) -> dict[str, Any]:
    """Where a run came from; ``checksum`` is that of its ``metrics.json`` as it came."""
    return {
        "from": str(given.resolve()),
        "merged": datetime.now(UTC).isoformat(timespec="seconds"),
        "checksum": run.metrics["checksum"],
        "weights": (run.folder / paths.WEIGHTS).is_file(),
    }


def _keep_apart(run: Run, given: Path, name: str) -> Path:
    out = paths.apart_run(name, run.task, run.attention, run.metrics["seed"])
    if (out / paths.METRICS).is_file():
        if read_json(out / paths.METRICS)["checksum"] == run.metrics["checksum"]:
            return out
        raise LraError(f"{out} holds another run; give another name to --apart.")
    write_json(out / ORIGIN, _origin(run, given))
    for file in (*paths.SEALED_FILES, paths.METRICS):
        if (run.folder / file).is_file():
            _copy(run.folder / file, out / file)
    return out


def _copy(source: Path, target: Path) -> None:
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)
