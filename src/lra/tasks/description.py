"""What a model and a configuration know of a task. A leaf that loads neither NumPy nor pyarrow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Rows:
    """Number of examples in each split."""

    train: int
    dev: int
    test: int


@dataclass(frozen=True)
class Task:
    """What a model must know of a task.

    Args:
        name: as in config.yaml.
        classes: number of labels, which are 0 ... classes - 1.
        vocabulary: number of token ids; ids are 0 ... vocabulary - 1.
        max_length: longest sequence, in tokens, of one tower.
        towers: 1, or 2 where two sequences are compared.
    """

    name: str
    classes: int
    vocabulary: int
    max_length: int
    towers: Literal[1, 2] = 1
