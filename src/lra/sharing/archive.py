"""Pack finished runs into a tar or zip file, and unpack them. Each run has a folder ``<key>/`` in the archive.

A run is packed with the runs that it follows from: its pretraining, and the tries that chose its learning rate.

An archive may come from an untrusted source. Members are written by file name into folders that this module names, so
paths in the archive have no effect. Links and devices are refused. The size of each file and of the archive is bounded.
"""

from __future__ import annotations

import contextlib
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from lra import paths
from lra.errors import LraError
from lra.files import atomic_write
from lra.results.choice import rate_of, read_choice
from lra.results.reading import Run
from lra.sharing.foreign_runs import MAX_BYTES, find_runs, is_pretraining, read_complete_run

TAR_MODES = {".tar": "w:", ".gz": "w:gz", ".tgz": "w:gz"}
SUFFIXES = (*TAR_MODES, ".zip")
MAX_MEMBERS = 100_000
MAX_TOTAL_BYTES = 1 << 36
"""Limit for all members together: 64 GiB."""
CHUNK = 1 << 20


def is_archive(path: Path) -> bool:
    """Whether a path is a file with the suffix of an archive."""
    return path.is_file() and path.suffix in SUFFIXES


def pack(folders: Sequence[Path], out: Path, *, weights: bool) -> tuple[int, list[str]]:
    """Write the runs at or below ``folders`` to an archive, each run once.

    Args:
        folders: folders to search for runs.
        out: the archive to write; its suffix gives the format: .tar, .tar.gz, .tgz or .zip.
        weights: whether to include ``model.safetensors``.

    Returns:
        The number of runs written, those that others follow from among them, and a sentence for each run left out.

    Raises:
        LraError: the suffix is unknown, a run or a record of a choice is damaged, or a folder contains no run.
    """
    if out.suffix not in SUFFIXES:
        raise LraError(f"{out}: the name of an archive must end in .tar, .tar.gz, .tgz or .zip.")
    runs: dict[str, Path] = {}
    left_out = []
    waiting = [(run_folder, False) for root in folders for run_folder in find_runs(root)]
    for folder, needed in waiting:
        if needed and not (folder / paths.METRICS).is_file():
            left_out.append(f"{folder}: not there, and a packed run follows from it; `lra merge` takes the run alone")
            continue
        run = read_complete_run(folder)
        if is_pretraining(run.metrics) and not needed:
            continue
        if run.metrics["max_steps"] is not None:
            left_out.append(f"{folder}: cut short at {run.metrics['max_steps']} steps")
        elif weights and not (folder / paths.WEIGHTS).is_file():
            raise LraError(f"{folder / paths.WEIGHTS} is missing; pack without --weights.")
        elif run.metrics["key"] not in runs:
            runs[run.metrics["key"]] = folder
            waiting += [(first, True) for first in _followed(run)]
    if not runs and not left_out:
        raise LraError(f"{folders[0]} contains only pretrainings; give the runs that start from them.")
    names = [name for name in paths.RUN_FILES if weights or name != paths.WEIGHTS]
    members = [(f"{key}/{name}", folder / name) for key, folder in sorted(runs.items()) for name in names]
    with atomic_write(out) as temporary:
        if out.suffix == ".zip":
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as zipped:
                for name, path in members:
                    zipped.write(path, name)
        else:
            with tarfile.open(temporary, TAR_MODES[out.suffix]) as tar:  # type: ignore[call-overload]
                for name, path in members:
                    tar.add(path, name, filter=_anonymous)
    return len(runs), left_out


def _followed(run: Run) -> Iterator[Path]:
    """Folders, in the store of its arena, of the runs that a run follows from."""
    folder = run.folder.resolve()
    results = next((parent for parent in folder.parents if (parent / paths.STORE.name).is_dir()), None)
    if results is None:
        return
    keys = []
    if start := run.metrics.get("pretraining"):
        keys.append(start["key"])
    kind, *cell, _ = folder.relative_to(results).parts
    if kind == paths.RUNS.name and len(cell) == 3:
        scale, task, attention = cell
        choice = paths.choice(scale, task, attention, results)
        if choice.is_file() and (record := read_choice(choice))["learning_rate"] == rate_of(run):
            keys += [one["key"] for one in record["tries"]]
    yield from (results / paths.STORE.name / key for key in keys)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Remove the user and group of the person who packs the archive."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def unpack(archive: Path, into: Path) -> None:
    """Extract the runs of an archive into folders ``into/<number>``.

    Raises:
        LraError: the archive is damaged, too large, or contains a link, a device, a path outside it or a name twice.
    """
    folders: dict[PurePosixPath, Path] = {}
    total = 0
    try:
        with contextlib.closing(_members(archive)) as members:
            for number, (name, size, stream) in enumerate(members):
                path = PurePosixPath(name)
                if path.is_absolute() or ".." in path.parts:
                    raise LraError(f"{archive}: the name {name!r} leads out of the archive, so the archive is refused.")
                total += size
                if number >= MAX_MEMBERS or total > MAX_TOTAL_BYTES:
                    raise LraError(f"{archive} contains more than {MAX_MEMBERS} files or {MAX_TOTAL_BYTES >> 30} GiB.")
                if path.name not in paths.RUN_FILES:
                    continue
                folder = folders.setdefault(path.parent, into / str(len(folders)))
                folder.mkdir(parents=True, exist_ok=True)
                if (folder / path.name).exists():
                    raise LraError(f"{archive} contains {name!r} twice.")
                _copy(stream, folder / path.name, f"{archive}: {name}")
    except (OSError, EOFError, RuntimeError, zlib.error, tarfile.TarError, zipfile.BadZipFile) as problem:
        sentence = " ".join(str(problem).split())
        raise LraError(f"{archive} cannot be read ({sentence}); get it again.") from problem


def _members(archive: Path) -> Generator[tuple[str, int, IO[bytes]], None, None]:
    """Name, size in bytes and content of each regular file."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as zipped:
            for entry in zipped.infolist():
                if entry.is_dir():
                    continue
                if stat.S_IFMT(mode := entry.external_attr >> 16) and not stat.S_ISREG(mode):
                    raise LraError(f"{archive}: {entry.filename!r} is not a regular file.")
                with zipped.open(entry) as stream:
                    yield entry.filename, entry.file_size, stream
    else:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                if member.isdir():
                    continue
                content = tar.extractfile(member) if member.isreg() else None
                if content is None:
                    raise LraError(f"{archive}: {member.name!r} is not a regular file.")
                yield member.name, member.size, content


def _copy(stream: IO[bytes], target: Path, source: str) -> None:
    """Write a stream to a file of bounded size; ``source`` names it in the error message."""
    left = MAX_BYTES[target.name]
    with target.open("wb") as file:
        while chunk := stream.read(CHUNK):
            if (left := left - len(chunk)) < 0:
                raise LraError(f"{source} is larger than {MAX_BYTES[target.name] >> 20} MiB.")
            file.write(chunk)
