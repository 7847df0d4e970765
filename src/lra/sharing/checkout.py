"""The checkout that a run is published from."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lra.errors import LraError

ROOT = Path(__file__).parents[3]
"""Folder of the checkout."""


def clean_commit(root: Path = ROOT) -> str:
    """The checkout's commit.

    Raises:
        LraError: ``root`` is not a Git checkout, or files other than publications differ from the commit.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", ".", ":!reference", ":!docs/reference.md").splitlines()
        commit = git("rev-parse", "HEAD")
    except (OSError, subprocess.CalledProcessError) as problem:
        raise LraError(f"{root} is not a Git checkout, so the run's code is unknown; publish from one.") from problem
    if changed:
        raise LraError(f"{root} has uncommitted changes ({changed[0].strip()}); commit or stash them first.")
    return commit
