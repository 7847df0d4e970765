"""Rows of examples as plain Python values, for comparisons."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pytest

from lra.errors import LraError


def rows(batches: Iterable[pa.RecordBatch]) -> list[tuple[Any, ...]]:
    """Each row's tokens (of both towers where there are two) and label."""
    return [tuple(row.values()) for batch in batches for row in batch.to_pylist()]


def refuses(sentence: str) -> Any:
    """Expect an LraError that contains ``sentence``."""
    return pytest.raises(LraError, match=re.escape(sentence))
