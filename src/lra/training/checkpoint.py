"""Checkpoints, from which a run resumes. Each is written atomically, and the previous one is kept."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from lra.files import atomic_write


class Checkpoints:
    """The last two checkpoints of a run.

    Args:
        folder: folder of the checkpoints.
        identity: digest of settings, code, data and machine; only a checkpoint with the same one is loaded.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder
        self.identity = identity
        self.latest = folder / "latest.pt"
        self.previous = folder / "previous.pt"

    def save(self, state: dict[str, Any]) -> None:
        """Write ``state``. If that fails, for instance because the disk is full, warn and keep the last checkpoint."""
        try:
            with atomic_write(self.latest) as temporary:
                with temporary.open("wb") as stream:
                    torch.save({"identity": self.identity, "state": state}, stream)
                    stream.flush()
                    os.fsync(stream.fileno())
                if self.latest.exists():
                    self.latest.replace(self.previous)
        except (OSError, RuntimeError) as problem:
            print(f"warning: no checkpoint written to {self.folder}: {problem}", file=sys.stderr)

    def load(self) -> dict[str, Any] | None:
        """The newest readable state of this run; None if there is none."""
        for path in (self.latest, self.previous):
            if not path.exists():
                continue
            try:
                stored = torch.load(path, map_location="cpu", weights_only=True)
                if stored["identity"] == self.identity:
                    return dict(stored["state"])
                print(f"{path} belongs to other settings, code or data and is ignored", file=sys.stderr)
            except Exception as problem:  # torch.load raises almost anything on a damaged file
                print(f"warning: {path} is damaged ({type(problem).__name__}) and is ignored", file=sys.stderr)
        return None

    def remove(self) -> None:
        """Delete the checkpoints, because the run is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)
