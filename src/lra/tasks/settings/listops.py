"""The settings of ListOps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt

from lra.errors import LraError
from lra.tasks.description import Count, Rows

Source = Literal["generate", "lra_release", "listops"]


@dataclass(frozen=True)
class Generator:
    """The distribution of generated trees; the defaults are the Long Range Arena's.

    A node above ``max_depth`` is a digit with ``digit_probability``, else an operator with 2 ... ``max_children``
    children, all choices uniform; at ``max_depth`` (the root has depth 1) every node is a digit. Trees with
    ``min_length`` < length < ``max_length`` are kept, where a digit counts 1 and an operator 2, itself and its closing
    bracket.
    """

    min_length: NonNegativeInt = 500
    """Trees are longer than this."""
    max_length: Annotated[int, Field(ge=2)] = 2000
    """Trees are shorter than this."""
    max_depth: Count = 10
    """Depth at which every node is a digit; the root has depth 1."""
    digit_probability: Annotated[float, Field(ge=0, lt=1)] = 0.75
    """Probability that a node above that depth is a digit rather than an operator."""
    max_children: Annotated[int, Field(ge=2)] = 10
    """Most arguments of an operator."""

    def __post_init__(self) -> None:
        if not self.min_length < self.max_length - 1:
            raise LraError(
                f"listops generator: no length lies between min_length {self.min_length} and max_length "
                f"{self.max_length}, themselves left out."
            )


@dataclass(frozen=True)
class ListOpsSettings:
    """The ``data`` block of listops."""

    source: Source
    """``generate``, ``lra_release`` (the Arena's archive, unpacked) or ``listops`` (a folder with TSV, CSV or Parquet
    files, as mirrors have them); the files have the columns Source and Target."""
    brackets: bool = True
    """Whether the closing bracket is a token; false gives the 14 tokens of the released code, and of the paper."""
    rows: Rows | None = None
    """Examples to generate; null for ``expected_rows``."""
    expected_rows: Rows | None = None
    """Number of examples that a source must have, if it is read; null for no check, as for an archive of your own."""
    max_length: Count = 2000
    """Longest expression, in tokens, that may be read."""
    seed: NonNegativeInt = 0
    """Seed of the generator."""
    generator: Generator = field(default_factory=Generator)
    """The distribution of the generated trees."""
