"""The one error a user sees: a sentence that says what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LraError(Exception):
    """A mistake or a failure of the outside world; the command line prints its sentence without a traceback."""


def nearest(word: str, allowed: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the closest allowed word, else an empty string; starts with a space."""
    near = difflib.get_close_matches(word, list(allowed), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def reason_of(problem: Exception) -> str:
    """What made a method crash, in one line, for its row of a table.

    Raises:
        LraError: it needs a package that is not installed; that is no row, since trying again makes sense.
    """
    if isinstance(problem.__cause__, ModuleNotFoundError):
        raise LraError(f"{problem}; install it and run the same command again.") from problem
    return f"{type(problem).__name__}: {problem}".splitlines()[0]
