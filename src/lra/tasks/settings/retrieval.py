"""The settings of document matching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import NonNegativeInt

from lra.tasks.description import Count, Rows

Source = Literal["vader", "lra_release", "aan"]


@dataclass(frozen=True)
class RetrievalSettings:
    """The ``data`` block of retrieval."""

    source: Source
    """``vader`` (are two snippets of the same kind?), ``lra_release`` (the Arena's archive, unpacked) or ``aan`` (a
    folder with ``new_aan_pairs.{train,eval,test}.tsv``)."""
    max_length: Count = 4000
    """Bytes after which a text is cut."""
    rows: Rows | None = None
    """How many pairs of snippets to make."""
    expected_rows: Rows | None = None
    """Number of examples that a source must have, if all are read; null for no check, as for an archive of your own."""
    seed: NonNegativeInt = 0
    """Seed of the pairs."""
