"""The settings of text classification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import NonNegativeInt

from lra.tasks.description import Count, Rows

Source = Literal["vader", "imdb"]


@dataclass(frozen=True)
class TextSettings:
    """The ``data`` block of text."""

    source: Source
    """``vader`` (which of four kinds of snippet is this?) or ``imdb`` (is this review positive?), which is the original
    archive aclImdb_v1.tar.gz or a folder in which tensorflow_datasets prepared imdb_reviews/plain_text."""
    max_length: Count = 4000
    """Bytes after which a text is cut."""
    rows: Rows | None = None
    """How many snippets to choose, in equal numbers of each kind."""
    expected_rows: Rows | None = None
    """Number of examples that a source must have, if all are read; null for no check, as for an archive of your own."""
    dev: Literal["train", "test"] = "train"
    """The dev split of ``imdb``. ``train`` holds out a tenth of the training set, so that choices made on the dev split
    (early stopping, the best checkpoint) do not depend on the answers of the test set. ``test``, as in the Arena and
    the paper, is the test set itself."""
    seed: NonNegativeInt = 0
    """Seed of the choice and of the order of rows."""
