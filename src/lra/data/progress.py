"""Progress of a long read or download: a bar on a terminal, otherwise log lines."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 30.0


@contextlib.contextmanager
def progress(label: str, total: int | None, done: int = 0) -> Iterator[Callable[[int], object]]:
    """A function to call with every number of bytes that were handled.

    Args:
        label: name of the file, shown before the figures.
        total: bytes in all, None where unknown.
        done: bytes that were there before.
    """
    if sys.stderr.isatty():
        with tqdm(total=total, initial=done, desc=label, unit="B", unit_scale=True, unit_divisor=1024) as bar:
            yield bar.update
    else:
        yield _Lines(label, total, done)


class _Lines:
    """Writes a log line every SECONDS_BETWEEN_LINES."""

    def __init__(self, label: str, total: int | None, done: int) -> None:
        self.label, self.total, self.done = label, total, done
        self.start_done, self.start = done, time.monotonic()
        self.next_line = self.start + SECONDS_BETWEEN_LINES

    def __call__(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if now < self.next_line:
            return
        self.next_line = now + SECONDS_BETWEEN_LINES
        rate = (self.done - self.start_done) / (now - self.start)
        of = "" if self.total is None else f" of {readable(self.total)}"
        log.info("%s: %s%s, %s/s", self.label, readable(self.done), of, readable(rate))


def readable(size: float) -> str:
    """A number of bytes for people, e.g. ``7.7 GiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
