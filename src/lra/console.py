"""What all commands share: a mistake told in one sentence, and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TypeVar

from lra.errors import LraError, nearest

T = TypeVar("T")


def guarded(work: Callable[[], int | None]) -> int:
    """Do the work of a command; returns its exit code, after one sentence about what went wrong, if something did."""
    try:
        return work() or 0
    except LraError as error:
        print(f"Error: {error}", file=sys.stderr)
    except (OSError, MemoryError) as error:
        print(f"Error: {error or 'out of memory'}; correct that and run the same command again.", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


def named(name: str, known: Mapping[str, T], kind: str) -> T:
    """``known[name]``.

    Raises:
        LraError: there is no such ``kind`` of thing; the message names the nearest one.
    """
    if name not in known:
        raise LraError(f"unknown {kind} {name!r}.{nearest(name, known)} Known: {', '.join(known)}.")
    return known[name]
