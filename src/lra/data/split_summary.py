"""The summary of one split in a manifest: rows, classes, lengths, a digest of its content, and hashes of its rows."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lra.errors import LraError
from lra.tasks.contract import Split, Task


class SplitSummary:
    """Checks record batches as they pass, and sums up the split for the manifest."""

    def __init__(self, task: Task, split: Split) -> None:
        self.task, self.split = task, split
        self.rows = 0
        self.classes = np.zeros(task.classes, dtype=np.int64)
        self.tokens = 0
        self.shortest, self.longest = task.max_length, 0
        self.digests: list[int] = []
        # One stream for the labels and two for each tower: the digest is then independent of the batches.
        self.streams = [hashlib.sha256() for _ in range(1 + 2 * task.towers)]

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Check a batch, count it, and return it unchanged.

        Raises:
            LraError: a token or label that the task does not have, or a sequence that is empty or too long.
        """
        label = batch["label"].to_numpy()
        towers = [batch[name] for name in ("tokens", "tokens_2")[: self.task.towers]]
        tokens = [tower.flatten().to_numpy() for tower in towers]
        lengths = np.stack([tower.value_lengths().to_numpy() for tower in towers])  # (towers, rows)
        self._check(label, tokens, lengths)
        self.rows += batch.num_rows
        self.classes += np.bincount(label, minlength=self.task.classes)
        self.tokens += int(lengths.sum())
        self.shortest = min(self.shortest, int(lengths.min(initial=self.shortest)))
        self.longest = max(self.longest, int(lengths.max(initial=0)))
        self.digests.extend(_digests(tokens, lengths))
        for stream, values in zip(self.streams, (label, *tokens, *lengths), strict=True):
            stream.update(values.astype("<u4").tobytes())
        return batch

    def _check(
        self,
        label: npt.NDArray[np.uint8],
        tokens: list[npt.NDArray[np.unsignedinteger]],
        lengths: npt.NDArray[np.int32],
    ) -> None:
        where = f"{self.task.name} {self.split}, rows {self.rows} to {self.rows + len(label)}"
        if (largest := label.max(initial=0)) >= self.task.classes:
            raise LraError(f"{where}: label {largest}, but the task has {self.task.classes} classes.")
        if lengths.size and not 1 <= lengths.min() <= lengths.max() <= self.task.max_length:
            raise LraError(
                f"{where}: sequences of {lengths.min()} to {lengths.max()} tokens, not 1 to {self.task.max_length}."
            )
        if (largest := max(ids.max(initial=0) for ids in tokens)) >= self.task.vocabulary:
            raise LraError(f"{where}: token id {largest}, but the vocabulary has {self.task.vocabulary}.")

    def content(self) -> str:
        """SHA-256 of labels, tokens and lengths of all rows in order, each number as four bytes."""
        return hashlib.sha256("".join(stream.hexdigest() for stream in self.streams).encode()).hexdigest()

    def summary(self) -> dict[str, Any]:
        """Number of rows and tokens, rows of each class, and the shortest and longest length."""
        return {
            "rows": self.rows,
            "classes": self.classes.tolist(),
            "tokens": self.tokens,
            "shortest": self.shortest,
            "longest": self.longest,
        }


def _digests(tokens: list[npt.NDArray[np.unsignedinteger]], lengths: npt.NDArray[np.int32]) -> Iterator[int]:
    """A 64-bit hash of each row's tokens, without its label, by which duplicates are found."""
    return map(hash, zip(*map(_pieces, tokens, lengths), strict=True))


def _pieces(ids: npt.NDArray[np.unsignedinteger], lengths: npt.NDArray[np.int32]) -> Iterator[bytes]:
    ends = np.cumsum(lengths).tolist()
    return (ids[begin:end].tobytes() for begin, end in itertools.pairwise([0, *ends]))
