"""One file over HTTP(S): resumed where it broke off, retried with growing pauses, never mistaken for a web page."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import asdict, dataclass
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from lra.data.progress import progress, readable
from lra.errors import LraError
from lra.files import write_json

log = logging.getLogger(__name__)

CHUNK = 1 << 18
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
"""HTTP statuses that a later try may not meet."""


class UnavailableError(Exception):
    """The reason why a source failed; the message completes a sentence that starts with the source's name."""


class _BrokenOffError(Exception):
    """A temporary failure; ``wait`` is the pause in seconds that the server asks for, if any."""

    def __init__(self, reason: str, wait: int = 0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class Retry:
    """Number of tries, pauses and timeout of a download.

    Args:
        tries: consecutive tries without a new byte, after which the source has failed.
        first: seconds before the second try; doubled from try to try.
        longest: longest pause in seconds.
        timeout: seconds without data from the server, after which a try has failed.
    """

    tries: int = 5
    first: float = 1.0
    longest: float = 60.0
    timeout: float = 60.0

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        return min(self.longest, self.first * 2.0 ** (failures - 1))


@dataclass(frozen=True)
class _Begun:
    """The record beside an unfinished file, which shows whether the server still has the same file."""

    url: str
    validator: str | None
    total: int | None


def download(url: str, part: Path, *, size: int | None = None, spare: int = 0, retry: Retry | None = None) -> None:
    """Download ``url`` to ``part``, resuming an unfinished download.

    Args:
        url: an http or https address.
        part: the file to write; ``<part>.json`` beside it records the download. Both are kept after a failure.
        size: the bytes that the file must have, None where unknown.
        spare: bytes that must stay free on the disk afterwards.
        retry: tries, pauses and timeout.

    Raises:
        UnavailableError: the server does not give the file.
        LraError: the disk is too small.
    """
    retry = retry or Retry()
    failures, furthest = 0, _size(part)
    while True:
        try:
            return _try(url, part, size, spare, retry.timeout)
        except _BrokenOffError as problem:
            if _size(part) > furthest:
                failures, furthest = 0, _size(part)
            failures += 1
            if failures >= retry.tries:
                raise UnavailableError(f"{problem} (tried {failures} times)") from problem
            pause = min(retry.longest, max(retry.pause(failures), problem.wait))
            log.warning("%s: %s; trying again in %.0f s", url, problem, pause)
            time.sleep(pause)


def discard(part: Path) -> None:
    """Forget an unfinished download."""
    part.unlink(missing_ok=True)
    _memory(part).unlink(missing_ok=True)


def looks_like_a_page(start: bytes) -> bool:
    """Whether these first bytes of a file are HTML, as login pages and error pages send it."""
    return re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype|html)", start, re.IGNORECASE) is not None


def _try(url: str, part: Path, size: int | None, spare: int, timeout: float) -> None:
    begun = _recall(part)
    offset = _size(part) if begun and begun.url == url else 0
    if begun and offset and offset == begun.total:
        return
    request = urllib.request.Request(url, headers={"User-Agent": "lra", "Accept-Encoding": "identity"})
    # Without a validator, the first half of an old file looks like that of a new one: such a download starts again.
    if begun and begun.validator and offset:
        request.add_header("Range", f"bytes={offset}-")
        request.add_header("If-Range", begun.validator)
    with _open(request, part, timeout) as response:
        if response.headers.get_content_type() == "text/html":
            raise UnavailableError("answered with a web page instead of the file")
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity" and not urllib.parse.urlsplit(url).path.endswith((".gz", ".tgz")):
            raise UnavailableError(f"is sent with encoding {encoding}, although no encoding was requested")
        validator = _validator(response.headers)
        if response.status == 206:
            if _range(response.headers)[0] != offset or validator not in (None, begun and begun.validator):
                discard(part)
                raise _BrokenOffError("has changed since the download began")
        elif response.status == 200:
            offset = 0
        else:
            raise UnavailableError(f"answered {response.status} {response.reason}")
        total = _total(response, offset)
        if size is not None and total not in (None, size):
            raise UnavailableError(f"is {total} bytes, not the expected {size}")
        total = size if total is None else total
        _check_disk(part, 0 if total is None else total - offset, spare, freed=0 if offset else _size(part))
        first = _read(response, offset, total)
        if not first:
            raise _BrokenOffError(_broke_off(offset, total) if total else "sent nothing")
        if not offset:
            # Checked before an earlier part is overwritten, so that a login page does not replace gigabytes.
            if looks_like_a_page(first):
                raise UnavailableError("answered with a web page instead of the file")
            part.write_bytes(b"")
            write_json(_memory(part), asdict(_Begun(url, validator, total)))
        _receive(response, part, first, offset, total)


def _receive(response: HTTPResponse, part: Path, first: bytes, offset: int, total: int | None) -> None:
    """Append the body to ``part``, of which ``first`` has been read already."""
    chunk = first
    with part.open("ab") as file, progress(part.stem, total, offset) as advance:
        while chunk:
            file.write(chunk)
            advance(len(chunk))
            offset += len(chunk)
            chunk = b"" if offset == total else _read(response, offset, total)
    if total is not None and offset < total:
        raise _BrokenOffError(_broke_off(offset, total))


def _open(request: urllib.request.Request, part: Path, timeout: float) -> HTTPResponse:
    try:
        response: HTTPResponse = urllib.request.urlopen(request, timeout=timeout)
        return response
    except urllib.error.HTTPError as answer:
        answer.close()
        reason = f"answered {answer.code} {answer.reason}"
        if answer.code == 416:
            discard(part)
        if answer.code in TRANSIENT | {416}:
            after = answer.headers.get("Retry-After", "")
            raise _BrokenOffError(reason, int(after) if re.fullmatch("[0-9]{1,9}", after) else 0) from None
        raise UnavailableError(reason) from None
    except (OSError, HTTPException) as problem:
        cause = getattr(problem, "reason", problem)
        reason = f"cannot be reached ({getattr(cause, 'strerror', None) or cause})"
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise UnavailableError(reason) from None
        raise _BrokenOffError(reason) from None
    except ValueError as problem:  # such as letters that no address has, here or where a redirection leads
        raise UnavailableError(f"is no address that can be asked ({problem})") from None


def _read(response: HTTPResponse, offset: int, total: int | None) -> bytes:
    try:
        return response.read1(CHUNK)
    except (OSError, HTTPException) as problem:
        raise _BrokenOffError(_broke_off(offset, total)) from problem


def _broke_off(offset: int, total: int | None) -> str:
    return f"broke off after {offset}{'' if total is None else f' of {total}'} bytes"


def _check_disk(part: Path, needed: int, spare: int, freed: int) -> None:
    free = shutil.disk_usage(part.parent).free + freed
    if free < needed + spare:
        unpacking = f" and {readable(spare)} to unpack it" if spare else ""
        raise LraError(
            f"{part.parent} has {readable(free)} free, but {readable(needed)} are needed to download {part.stem}"
            f"{unpacking}; make room, or put the data folder on a larger disk."
        )


def _validator(headers: Message) -> str | None:
    """What If-Range may name: a strong ETag, else the date of the last change."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def _range(headers: Message) -> tuple[int | None, int | None]:
    """First byte of a partial answer, and the bytes of the whole file."""
    found = re.match(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
    return (int(found[1]), None if found[2] == "*" else int(found[2])) if found else (None, None)


def _total(response: HTTPResponse, offset: int) -> int | None:
    """Bytes of the whole file, of which an answer may hold less than was asked for."""
    length = response.length
    return _range(response.headers)[1] or (None if length is None else offset + length)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _memory(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _recall(part: Path) -> _Begun | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return _Begun(**json.loads(_memory(part).read_text(encoding="utf-8")))
    return None
