"""Path-X: Pathfinder at 128 x 128 pixels, a sequence of 16384; settings and images are those of Pathfinder.

Tay et al. 2021 (arXiv 2011.04006), section 2.2.6.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lra.tasks import pathfinder
from lra.tasks.contract import Examples, Task
from lra.tasks.pathfinder import encode
from lra.tasks.settings.pathfinder import PathfinderSettings as Settings

__all__ = ["Settings", "describe", "encode", "examples"]

NAME = "pathx"


def describe(settings: Settings) -> Task:
    """The task; ids are the grey values."""
    return replace(pathfinder.describe(settings), name=NAME)


def examples(settings: Settings, source: Path | None, workers: int) -> Examples:
    """The three splits; see :func:`lra.tasks.pathfinder.examples`."""
    return pathfinder.examples(settings, source, workers, NAME)
