"""Finished runs in one file, a tar or a zip: ``<key>/`` with the files of a run each.

An archive may come from anyone. Its members are copied by their last name into folders that are named here, so that no
path in it leads anywhere; links and devices are refused; the bytes of each file and of all are bounded.
"""

from __future__ import annotations

import contextlib
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from lra import paths
from lra.errors import LraError
from lra.files import atomic_write
from lra.sharing.found import LARGEST, find_runs, read_whole

MODES = {".tar": "w:", ".gz": "w:gz", ".tgz": "w:gz"}
ENDINGS = (*MODES, ".zip")
MOST_MEMBERS = 100_000
MOST_BYTES = 1 << 36
"""Of all members together: 64 GiB."""
CHUNK = 1 << 20


def is_archive(path: Path) -> bool:
    """Whether a path is a file with the name of an archive."""
    return path.is_file() and path.suffix in ENDINGS


def pack(folders: Sequence[Path], out: Path, *, weights: bool) -> tuple[int, list[str]]:
    """Write the runs at or below ``folders`` to ``out``, each once.

    Args:
        folders: where the runs are.
        out: the archive; its ending says which kind: .tar, .tar.gz, .tgz or .zip.
        weights: whether ``model.safetensors`` goes in.

    Returns:
        How many runs were written, and why others were left out.

    Raises:
        LraError: the ending is none of these, a run is damaged, or there is none.
    """
    if out.suffix not in ENDINGS:
        raise LraError(f"{out}: the name of an archive ends in .tar, .tar.gz, .tgz or .zip.")
    runs: dict[str, Path] = {}
    left_out = []
    for folder in (run for given in folders for run in find_runs(given)):
        run = read_whole(folder)
        if run.metrics["max_steps"] is not None:
            left_out.append(f"{folder}: cut short at {run.metrics['max_steps']} steps")
        elif weights and not (folder / paths.WEIGHTS).is_file():
            raise LraError(f"{folder / paths.WEIGHTS} is missing; leave --weights out.")
        else:
            runs.setdefault(run.metrics["key"], folder)
    names = [name for name in paths.RUN_FILES if weights or name != paths.WEIGHTS]
    members = [(f"{key}/{name}", folder / name) for key, folder in sorted(runs.items()) for name in names]
    with atomic_write(out) as temporary:
        if out.suffix == ".zip":
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as zipped:
                for name, path in members:
                    zipped.write(path, name)
        else:
            with tarfile.open(temporary, MODES[out.suffix]) as tar:  # type: ignore[call-overload]
                for name, path in members:
                    tar.add(path, name, filter=_anonymous)
    return len(runs), left_out


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Whose account packed it is nobody's concern."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def unpack(archive: Path, into: Path) -> None:
    """Copy the runs of an archive into folders ``into/<number>``.

    Raises:
        LraError: the archive is damaged, or holds what no archive of runs holds.
    """
    folders: dict[PurePosixPath, Path] = {}
    total = 0
    try:
        with contextlib.closing(_members(archive)) as members:
            for number, (name, size, stream) in enumerate(members):
                path = PurePosixPath(name)
                if path.is_absolute() or ".." in path.parts:
                    raise LraError(f"{archive}: the name {name!r} leads out of the archive; it is refused as a whole.")
                total += size
                if number >= MOST_MEMBERS or total > MOST_BYTES:
                    raise LraError(f"{archive} holds more than {MOST_MEMBERS} files or {MOST_BYTES >> 30} GiB.")
                if path.name not in paths.RUN_FILES:
                    continue
                folder = folders.setdefault(path.parent, into / str(len(folders)))
                folder.mkdir(parents=True, exist_ok=True)
                if (folder / path.name).exists():
                    raise LraError(f"{archive} holds {name!r} twice.")
                _copy(stream, folder / path.name, f"{archive}: {name}")
    except (OSError, EOFError, RuntimeError, zlib.error, tarfile.TarError, zipfile.BadZipFile) as problem:
        sentence = " ".join(str(problem).split())
        raise LraError(f"{archive} cannot be read ({sentence}); get it again.") from problem


def _members(archive: Path) -> Generator[tuple[str, int, IO[bytes]], None, None]:
    """Name, bytes and content of each plain file."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as zipped:
            for entry in zipped.infolist():
                if entry.is_dir():
                    continue
                if stat.S_IFMT(mode := entry.external_attr >> 16) and not stat.S_ISREG(mode):
                    raise LraError(f"{archive}: {entry.filename!r} is no plain file.")
                with zipped.open(entry) as stream:
                    yield entry.filename, entry.file_size, stream
    else:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                if member.isdir():
                    continue
                content = tar.extractfile(member) if member.isreg() else None
                if content is None:
                    raise LraError(f"{archive}: {member.name!r} is no plain file.")
                yield member.name, member.size, content


def _copy(stream: IO[bytes], target: Path, where: str) -> None:
    left = LARGEST[target.name]
    with target.open("wb") as file:
        while chunk := stream.read(CHUNK):
            if (left := left - len(chunk)) < 0:
                raise LraError(f"{where} is larger than {LARGEST[target.name] >> 20} MiB.")
            file.write(chunk)
