"""What was measured so far: a file of JSON lines a part, so that a run that is killed loses no more than a line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Result = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """The results of one part.

    Args:
        path: its file. Several processes may add to it.
    """

    path: Path

    def add(self, **result: Any) -> None:
        """Append one line, whole and on the disk before this returns."""
        line = json.dumps(result) + "\n"
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
            os.fsync(handle)
        finally:
            os.close(handle)
        print(describe(result), flush=True)

    def attempt(self, what: Result, work: Callable[[], Result]) -> None:
        """Add what ``work`` returns beside ``what``, or the error that it raised, which is a fault."""
        try:
            found = work()
        except Exception as problem:
            found = {"ok": False, "error": " ".join(f"{type(problem).__name__}: {problem}".split())[:400]}
        self.add(**what, **found)

    def results(self) -> list[Result]:
        """All lines; one that was cut off is left out."""
        found = []
        for line in self.path.read_text().splitlines() if self.path.exists() else []:
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return found


def describe(result: Result) -> str:
    """A result in one line."""
    return "  ".join(f"{name} {short(value)}" for name, value in result.items() if value is not None)


def short(value: object) -> str:
    """A value with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
