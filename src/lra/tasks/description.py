"""The description of a task for models and configurations. This module loads neither NumPy nor pyarrow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")

Count = Annotated[int, Field(ge=1)]
"""A whole number, 1 or more."""


@dataclass(frozen=True)
class Rows:
    """Number of examples in each split."""

    train: Count
    """Examples to train on."""
    dev: Count
    """Examples that stop a run and choose its weights."""
    test: Count
    """Examples that the accuracy is of."""


@dataclass(frozen=True)
class Task:
    """What a model must know of a task."""

    name: str
    """Its name in config.yaml."""
    classes: int
    """Number of labels, which are 0 ... classes - 1."""
    vocabulary: int
    """Number of token ids, which are 0 ... vocabulary - 1."""
    max_length: int
    """Longest sequence, in tokens, of one tower."""
    towers: Literal[1, 2] = 1
    """1, or 2 where two sequences are compared."""
