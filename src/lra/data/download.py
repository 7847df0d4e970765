"""Fetch and verify raw data: each artefact comes from the first of its sources that works.

``fetch("lra_release", sources, Path("data/sources/lra_release"), Path("data/sources/lock.json"))``
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lra.config.blocks import MD5, PACKAGE, SHA256, URL
from lra.data.lockfile import Content, Entry, content_of, difference, record, recorded
from lra.data.progress import progress, readable
from lra.data.transfer import Retry, UnavailableError, discard, download, looks_like_a_page
from lra.data.ways import ways_on
from lra.errors import LraError
from lra.files import file_lock, refuse_foreign_files

__all__ = ["Retry", "Source", "fetch"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """One source of an artefact: exactly one of ``url``, ``path`` and ``package``, and the expected size and checksums.

    Args:
        url: an http or https address; with a list of names in braces, such as ``https://host/{train,test}.tsv``, the
            artefact is a folder with each of these files.
        path: a file or folder of the user's own; ``~`` and paths relative to the current folder are allowed.
        package: a Python package whose source distribution is the artefact, e.g. ``vaderSentiment==3.3.2``.
        size: bytes of the file.
        sha256: its SHA-256 in hexadecimal.
        md5: its MD5 in hexadecimal, for publishers that give only this.
    """

    url: str | None = None
    path: str | None = None
    package: str | None = None
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None

    def __post_init__(self) -> None:
        given = [key for key in ("url", "path", "package") if getattr(self, key) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise LraError(f"sources in config.yaml: a source has exactly one of url, path and package, not {found}.")
        for key, pattern, example in (
            ("url", URL, "https://host/file.gz or https://host/{a,b}.tsv"),
            ("package", PACKAGE, "vaderSentiment==3.3.2"),
            ("sha256", SHA256, "64 digits 0-9 a-f"),
            ("md5", MD5, "32 digits 0-9 a-f"),
        ):
            value = getattr(self, key)
            if value is not None and not re.fullmatch(pattern, value):
                raise LraError(f"sources in config.yaml: {key} {value!r} of {self} should be like: {example}.")
        try:
            names = _names(self.urls)
        except ValueError as problem:
            raise LraError(f"sources in config.yaml: url {self.url!r} is no address ({problem}).") from None
        if len(set(names)) < len(names):
            raise LraError(f"sources in config.yaml: the files of {self} must have different names, not {names[0]!r}.")
        if len(self.urls) > 1 and (self.size or self.sha256 or self.md5):
            raise LraError(f"sources in config.yaml: {self} is several files; size, sha256 and md5 are for one.")

    @property
    def urls(self) -> list[str]:
        """What ``url`` stands for: one address, or one for each name in its braces."""
        start, *rest = re.split(r"[{}]", self.url or "")
        return [f"{start}{name}{rest[1]}" for name in rest[0].split(",")] if rest else [start]

    def __str__(self) -> str:
        return self.url or self.path or self.package or ""


def fetch(
    artefact: str, sources: Sequence[Source], target: Path, lock: Path, *, spare: int = 0, retry: Retry | None = None
) -> Path:
    """Bring an artefact to ``target``, from the first source that has it whole and unchanged.

    A download is written to ``<target>.part``, which a later call resumes; of several files, each to
    ``<target>.<name>.part``, and the folder ``target`` appears when all are there. A path of one's own is not copied:
    ``target`` becomes a symbolic link to it, be it a file or a folder. (A workflow touches its outputs: through a hard
    link it would change the date of the user's file.)

    Args:
        artefact: its name in ``sources`` of config.yaml and in the lock file.
        sources: tried in order.
        target: where the file goes; a file that is there and is what the lock file says is kept.
        lock: the lock file, see :mod:`lra.data.lockfile`; written at the artefact's first use, enforced ever after.
        spare: bytes that must stay free on the disk after a download, for unpacking.
        retry: how patient downloads are.

    Returns:
        ``target``.

    Raises:
        LraError: no source works, saying why each failed; or the disk is full.
    """
    try:
        with file_lock(target):
            known = recorded(lock, artefact)
            if not _is_kept(target, known):
                # A folder beside the lock file is a download; elsewhere it may hold the user's files.
                if target.absolute().parent != lock.absolute().parent and not target.is_symlink():
                    refuse_foreign_files(target, [name for source in sources for name in _names(source.urls)])
                _fetch(artefact, sources, target, lock, known, spare, retry)
            return target
    except OSError as problem:
        raise LraError(f"{artefact} cannot be written to {target}: {problem}.") from problem


def _is_kept(target: Path, known: Entry | None) -> bool:
    """Whether an earlier download exists and has the recorded content."""
    if known is None or not target.exists() or target.is_symlink():
        return False
    if target.is_file() and target.stat().st_size != known.size:
        return False
    return content_of(target) == known.content


def _fetch(
    artefact: str,
    sources: Sequence[Source],
    target: Path,
    lock: Path,
    known: Entry | None,
    spare: int,
    retry: Retry | None,
) -> None:
    failures = []
    for source in sources:
        log.info("%s: fetching %s", artefact, source)
        try:
            with _obtained(source, target, spare, retry) as path:
                content = _check(source, path, known=known is not None)
                entry = record(lock, artefact, content, str(source))
                if changed := difference(artefact, content, entry, lock):
                    raise UnavailableError(changed)
                _put(path, target, link=source.path is not None)
            return
        except UnavailableError as reason:
            log.warning("%s: %s %s", artefact, source, reason)
            failures.append(f"  {source}: {reason}\n")
    tried = f"none of its sources works:\n{''.join(failures)}" if failures else "it has no source.\n"
    raise LraError(f"{artefact} could not be had, {tried}{ways_on(artefact)}")


@contextlib.contextmanager
def _obtained(source: Source, target: Path, spare: int, retry: Retry | None) -> Iterator[Path]:
    """The source's file (or folder), not yet checked; what was proven wrong or is left over is removed afterwards."""
    if len(source.urls) > 1:
        folder = target.with_name(f"{target.name}.files")
        try:
            yield _download_all(source.urls, target, folder, spare, retry)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    elif source.url:
        part = target.with_name(f"{target.name}.part")
        download(source.url, part, size=source.size, spare=spare, retry=retry)
        try:
            yield part
        except UnavailableError:
            discard(part)
            raise
        discard(part)
    elif source.package:
        folder = target.with_name(f"{target.name}.pip")
        shutil.rmtree(folder, ignore_errors=True)
        try:
            yield _from_package(source.package, source.sha256, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    else:
        path = Path(source.path or "").expanduser().absolute()
        if not path.exists():
            raise UnavailableError(f"there is no such file or folder{'' if str(path) == source.path else f' ({path})'}")
        if not os.access(path, os.R_OK):
            raise UnavailableError("you may not read it")
        yield path


def _download_all(urls: Sequence[str], target: Path, folder: Path, spare: int, retry: Retry | None) -> Path:
    """The files in ``folder``, once each of them is whole; until then each is a part beside ``target``."""
    names = _names(urls)
    parts = [target.with_name(f"{target.name}.{name}.part") for name in names]
    for url, part in zip(urls, parts, strict=True):
        download(url, part, spare=spare, retry=retry)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, part in zip(names, parts, strict=True):
        part.replace(folder / name)
        discard(part)
    return folder


def _names(urls: Sequence[str]) -> list[str]:
    """Names of the files at these addresses."""
    return [Path(urllib.parse.urlsplit(url).path).name for url in urls]


def _from_package(package: str, sha256: str | None, folder: Path) -> Path:
    """The source distribution of a package, by way of pip, which looks where its user told it to."""
    folder.mkdir(parents=True)
    requirements = folder / "requirements.txt"
    requirements.write_text(package + (f" --hash=sha256:{sha256}\n" if sha256 else "\n"), encoding="utf-8")
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
    where = ["--no-binary", package.partition("==")[0], "--dest", f"{folder}/files", "--requirement", f"{requirements}"]
    command = [sys.executable, "-m", "pip", "download", *options, *where]
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")] or lines
        raise UnavailableError(f"pip could not download it ({errors[-1][:300]})")
    return next((folder / "files").iterdir())


def _check(source: Source, path: Path, *, known: bool) -> Content:
    """Compare with what config.yaml says of the source; ``known`` where the lock file has the artefact's checksum."""
    if source.url and path.is_dir():
        for file in path.iterdir():
            _check_start(file, file.name)
        return content_of(path)
    if path.is_dir():
        if source.size or source.sha256 or source.md5:
            raise UnavailableError("is a folder; size, sha256 and md5 in config.yaml are for files")
        return content_of(path)
    is_gzip = _check_start(path, urllib.parse.urlsplit(source.url).path if source.url else path.name)
    if source.size is not None and path.stat().st_size != source.size:
        raise UnavailableError(f"is {path.stat().st_size} bytes, not the expected {source.size}")
    content = content_of(path)
    if source.sha256 and content.sha256 != source.sha256:
        raise UnavailableError(f"has the sha256 {content.sha256}, not the expected {source.sha256}")
    if source.md5 and (md5 := _md5(path)) != source.md5:
        raise UnavailableError(f"has the md5 {md5}, not the expected {source.md5}")
    if is_gzip and not (known or source.sha256 or source.md5):
        _check_gzip(path)
    return content


def _check_start(path: Path, name: str) -> bool:
    """Refuse what the first bytes give away as something else than ``name`` promises; True if it is gzip."""
    with path.open("rb") as file:
        start = file.read(512)
    if looks_like_a_page(start):
        raise UnavailableError("is a web page, not the file")
    is_gzip = start.startswith(b"\x1f\x8b")
    is_archive = is_gzip or start.startswith(b"PK\x03\x04") or start[257:262] == b"ustar"
    if name.endswith((".gz", ".tgz", ".tar", ".zip")) and not is_archive:
        raise UnavailableError("is not an archive")
    return is_gzip


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _check_gzip(path: Path) -> None:
    """Unpack to nowhere: nothing is known of this file yet, and a cut one must not be recorded as the true one."""
    size, done = path.stat().st_size, 0
    log.info("%s: checking once that the archive is whole (%s)", path.name, readable(size))
    with path.open("rb") as raw, gzip.GzipFile(fileobj=raw) as stream, progress(path.name, size) as advance:
        try:
            while stream.read(1 << 20):
                advance(raw.tell() - done)
                done = raw.tell()
        except (EOFError, OSError, zlib.error) as problem:
            raise UnavailableError(f"is damaged or cut short near byte {raw.tell()} ({problem})") from problem


def _put(path: Path, target: Path, *, link: bool) -> None:
    """Rename ``path`` to ``target``, or make ``target`` a link to it."""
    if path.resolve() == target.resolve():
        return
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    if link:
        new = target.with_name(f"{target.name}.link")
        new.unlink(missing_ok=True)
        new.symlink_to(path)
        path = new
    elif path.is_dir():
        target.unlink(missing_ok=True)
    path.replace(target)
