"""Padded batches from shards: shuffled with bounded memory, seeded, and resumable at any step."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from lra.data.shards import Shards
from lra.errors import LraError
from lra.tasks.contract import Split

POOL_ROWS = 16384
"""The most rows that are held in memory, unpadded, and shuffled together; a smaller split is shuffled as a whole."""
POOL_TOKENS = 2**27
"""The most tokens of a pool, so that long sequences have smaller pools; Arrow allows at most 2**31."""


@dataclass(frozen=True)
class Batch:
    """``tokens``, int32, and ``mask``, bool, True = real: a (batch, length) tensor a tower; ``label`` (batch,)."""

    tokens: tuple[Tensor, ...]
    mask: tuple[Tensor, ...]
    label: Tensor

    def __len__(self) -> int:
        return len(self.label)

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device; asynchronous from pinned memory."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """The same batch in page-locked memory, from which a GPU reads while the host goes on."""
        return self._each(Tensor.pin_memory)

    def split(self, size: int) -> Iterator[Batch]:
        """Consecutive pieces of at most ``size`` rows."""
        for start in range(0, len(self), size):
            yield self._each(itemgetter(slice(start, start + size)))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(tuple(map(change, self.tokens)), tuple(map(change, self.mask)), change(self.label))


class Batches:
    """The batches of one split.

    Args:
        shards: the prepared task.
        split: which split.
        batch: rows of a batch.
        length: length that every sequence is padded to.
        trim: pad only to the batch's longest sequence, rounded up to a multiple of 64.
        window: consecutive batches of :meth:`shuffled` that share their rows out by length, so that sequences of about
            the same length meet; of two towers the longer one counts. Their order is shuffled again.
    """

    def __init__(
        self, shards: Shards, split: Split, batch: int, length: int, *, trim: bool = False, window: int = 1
    ) -> None:
        self.towers = ("tokens", "tokens_2")[: shards.task.towers]
        self.rows = shards.rows(split)
        self.pool_rows = max(1, min(POOL_ROWS, POOL_TOKENS // (shards.task.towers * shards.task.max_length)))
        self.batch = batch
        self.length = length
        self.trim = trim
        self.window = window
        self.token_types: dict[str, type[np.unsignedinteger]] = {}
        self.groups: list[tuple[Path, int, int]] = []  # file, row group, its rows
        for path in shards.files(split):
            metadata = pq.read_metadata(path)
            self.groups += [(path, i, metadata.row_group(i).num_rows) for i in range(metadata.num_row_groups)]

    def in_order(self) -> Generator[Batch, None, None]:
        """Every row once, in the stored order; the last batch may be smaller."""
        yield from map(self._pad, _cut(map(self._read, self._pools(np.arange(len(self.groups)))), self.batch))

    def shuffled(self, seed: int, start: int = 0) -> Generator[Batch, None, None]:
        """Full batches without end, each epoch in another order; ``start`` batches are skipped without reading them."""
        per_epoch = self.rows // self.batch
        if per_epoch == 0:
            raise ValueError(f"a batch of {self.batch} is larger than the split of {self.rows} rows")
        epoch, skip = divmod(start, per_epoch)
        while True:
            first, skip = divmod(skip, self.window)
            size = self.window * self.batch
            rows = self._shuffled_rows(np.random.default_rng([seed, epoch]), first * size)
            for number, table in enumerate(_cut(rows, size), start=first):
                yield from map(self._pad, self._share_out(table, [seed, epoch, number + 1], skip))
                skip = 0
            epoch, skip = epoch + 1, 0

    def _share_out(self, window: pa.Table, seed: list[int], skip: int) -> Iterator[pa.Table]:
        """The full batches of a window after the first ``skip``; the remaining rows, of any length, are dropped."""
        whole = window.num_rows - window.num_rows % self.batch
        starts = np.arange(0, whole, self.batch)
        if self.window == 1:
            return (window.slice(start, self.batch) for start in starts[skip:])
        window = window.slice(0, whole)
        longer = np.maximum.reduce([pc.binary_length(window[name]).to_numpy() for name in self.towers])
        order = np.argsort(longer, kind="stable")
        np.random.default_rng(seed).shuffle(starts)
        return (window.take(pa.array(order[start : start + self.batch])) for start in starts[skip:])

    def _shuffled_rows(self, random: np.random.Generator, skip: int) -> Iterator[pa.Table]:
        """An epoch's rows after the first ``skip``, a pool at a time."""
        for pool in self._pools(random.permutation(len(self.groups))):
            order = random.permutation(sum(self.groups[index][2] for index in pool))
            if skip >= len(order):
                skip -= len(order)
                continue
            # One window at a time: a GPU would have to wait for the whole pool.
            rows, size = self._read(pool), self.window * self.batch
            for start in range(skip, len(order), size):
                yield rows.take(pa.array(order[start : start + size]))
            skip = 0

    def _pools(self, order: npt.NDArray[np.integer]) -> Iterator[list[int]]:
        """Row groups in the given order, in pools of similar size: a small last pool might hold only one label."""
        pools = min(len(order), -(-self.rows // self.pool_rows))
        return (pool.tolist() for pool in np.array_split(order, pools))

    def _read(self, pool: list[int]) -> pa.Table:
        by_file: dict[Path, list[tuple[int, int]]] = {}
        for place, index in enumerate(pool):
            path, group, _ = self.groups[index]
            by_file.setdefault(path, []).append((place, group))
        pieces: dict[int, pa.Table] = {}
        for path, wanted in by_file.items():
            try:
                with pq.ParquetFile(path, memory_map=True) as file:
                    for place, group in wanted:
                        pieces[place] = file.read_row_group(group, columns=[*self.towers, "label"])
            except (pa.ArrowInvalid, IndexError) as problem:  # it was whole when the run began
                raise LraError(f"{path} has changed while it was read ({problem}); prepare it again.") from problem
        table = pa.concat_tables([pieces[place] for place in range(len(pool))]).combine_chunks()
        for name in self.towers:
            rows = table[name].combine_chunks()
            self.token_types[name] = rows.type.value_type.to_pandas_dtype()
            table = table.set_column(table.schema.get_field_index(name), name, as_bytes(rows))
        return table

    def _pad(self, table: pa.Table) -> Batch:
        tokens, masks = zip(
            *(
                pad(as_lists(table[name].combine_chunks(), self.token_types[name]), self.length, trim=self.trim)
                for name in self.towers
            ),
            strict=True,
        )
        label = torch.from_numpy(table["label"].to_numpy().astype(np.int64))
        return Batch(tokens, masks, label)


def _cut(blocks: Iterator[pa.Table], size: int) -> Iterator[pa.Table]:
    """Cut a stream of tables into tables of ``size`` rows; the last one may be smaller."""
    rest: pa.Table | None = None
    for block in blocks:
        table = block if rest is None else pa.concat_tables([rest, block])
        table = table.combine_chunks()
        whole = table.num_rows - table.num_rows % size
        for start in range(0, whole, size):
            yield table.slice(start, size)
        rest = table.slice(whole) if whole < table.num_rows else None
    if rest is not None:
        yield rest


def as_bytes(rows: pa.ListArray) -> pa.BinaryArray:
    """The same rows as byte strings, which Arrow copies as a whole; it copies lists element by element."""
    values = rows.values.to_numpy()
    offsets = rows.offsets.to_numpy() * values.itemsize
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(np.ascontiguousarray(values))]
    return pa.Array.from_buffers(pa.binary(), len(rows), buffers)


def as_lists(rows: pa.BinaryArray, kind: type[np.unsignedinteger]) -> pa.ListArray:
    """The inverse of :func:`as_bytes`."""
    _, offsets, values = rows.buffers()
    starts = np.frombuffer(offsets, np.int32)[rows.offset : rows.offset + len(rows) + 1] // np.dtype(kind).itemsize
    return pa.ListArray.from_arrays(pa.array(starts), pa.array(np.frombuffer(values or b"", kind)))


def pad(rows: pa.ListArray, length: int, *, trim: bool = False) -> tuple[Tensor, Tensor]:
    """Pad lists of token ids with 0 to ``length``, or with ``trim`` only to the longest rounded up to 64.

    Returns:
        (rows, length) int32 tokens and bool mask, True = real.
    """
    lengths = rows.value_lengths().to_numpy()
    if trim:
        length = min(length, -(-int(lengths.max()) // 64) * 64)
    mask = np.arange(length, dtype=np.int32) < lengths[:, None]  # (rows, length)
    tokens = np.zeros(mask.shape, dtype=np.int32)
    values = rows.flatten().to_numpy()
    ends = np.cumsum(lengths)
    # Copying row by row takes half the time of assignment through the mask, which reads every position.
    for row, start, end in zip(tokens, (ends - lengths).tolist(), ends.tolist(), strict=True):
        row[: end - start] = values[start:end]
    return torch.from_numpy(tokens), torch.from_numpy(mask)
