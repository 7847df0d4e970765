"""The settings of a task of the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from lra.tasks.description import Count, Rows


@dataclass(frozen=True, kw_only=True)
class OwnBlock:
    """The ``data`` block of a task of your own."""

    module: Annotated[str, Field(pattern=r"^[^:]+:[A-Za-z_][A-Za-z0-9_]*$")]
    """The function that yields the examples, `path/to/file.py:function` or `package.module:function`."""
    classes: Annotated[int, Field(ge=2, le=256)]
    """Number of labels, which are 0 to one less."""
    vocabulary: Annotated[int, Field(ge=2, le=65536)]
    """Number of token ids, which are 0 to one less."""
    max_length: Count
    """Longest sequence, in tokens, of one tower."""
    towers: Literal[1, 2] = 1
    """1, or 2 if an example is a pair of sequences."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the function."""
    source: Annotated[str, Field(min_length=1)] | None = None
    """A file or folder of your own that the function reads, its argument `source`; null for no such argument."""
    rows: Rows | None = None
    """How many examples to take of each split; null for all that the function yields."""


@dataclass(frozen=True, kw_only=True)
class OwnSettings(OwnBlock):
    """The same with the task's name, as jobs get it."""

    name: str
    """The task's name in config.yaml."""
