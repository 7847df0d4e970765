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
