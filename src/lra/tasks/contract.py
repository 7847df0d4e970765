"""The contract of a task: a description, and examples for each split as Arrow record batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lra.tasks.description import SPLITS, Rows, Split, Task

__all__ = ["SPLITS", "Examples", "Rows", "Split", "Task", "list_array", "record_batch"]

Examples = Mapping[Split, Iterable[pa.RecordBatch]]
"""For each split its rows in order: ``tokens`` (and ``tokens_2`` for two towers) as list<uint8 or uint16>, unpadded
and never empty, and ``label`` as uint8. Iterables are lazy: a split need not fit in memory."""


def record_batch(
    label: npt.NDArray[np.integer], tokens: pa.ListArray, tokens_2: pa.ListArray | None = None
) -> pa.RecordBatch:
    """Rows of one split: ``label`` (rows,) and one list of token ids a row for each tower."""
    columns = {"tokens": tokens} | ({} if tokens_2 is None else {"tokens_2": tokens_2})
    return pa.RecordBatch.from_pydict({**columns, "label": pa.array(label.astype(np.uint8))})


def list_array(values: npt.NDArray[np.unsignedinteger], lengths: npt.NDArray[np.integer]) -> pa.ListArray:
    """Cut the concatenated ``values`` into one list a row, of the given ``lengths``."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))
