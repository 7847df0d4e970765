from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from conftest import toy_examples
from lra.data import batches as module
from lra.data.batches import Batch, Batches, as_bytes, as_lists, pad
from lra.data.shards import Shards, write_shards
from lra.errors import LraError
from lra.tasks.contract import Task, list_array, record_batch


@pytest.fixture
def numbered(tmp_path: Path) -> Shards:
    """1000 train rows, each a sequence that spells its own number in base 200, so that rows can be told apart."""
    number = np.arange(1000)
    values = np.stack([number // 200 + 1, number % 200 + 1], axis=1).astype(np.uint8).ravel()
    batch = record_batch(number % 2, list_array(values, np.full(1000, 2)))
    task = Task("numbers", classes=2, vocabulary=202, max_length=2)
    examples = {"train": [batch], "dev": [batch.slice(0, 10)], "test": [batch.slice(10, 7)]}
    return write_shards(tmp_path, task, examples, expected=None, provenance={})  # type: ignore[arg-type]


def numbers(batch: Batch) -> list[int]:
    return ((batch.tokens[0][:, 0] - 1) * 200 + batch.tokens[0][:, 1] - 1).tolist()


def test_padding() -> None:
    tokens, mask = pad(pa.array([[5], [1, 2, 3]], pa.list_(pa.uint8())), 4)
    assert tokens.tolist() == [[5, 0, 0, 0], [1, 2, 3, 0]]
    assert mask.tolist() == [[True, False, False, False], [True, True, True, False]]
    tokens, _ = pad(pa.array([[1] * 65, [1]], pa.list_(pa.uint16())), 4096, trim=True)
    assert tokens.shape == (2, 128)
    tokens, _ = pad(pa.array([[1] * 65], pa.list_(pa.uint16())), 100, trim=True)
    assert tokens.shape == (1, 100)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_rows_as_bytes_and_back(kind: type[np.unsignedinteger]) -> None:
    """Slices and taken rows of them too, and rows without a token."""
    lists = [[], [5], [250, 251, 252], [7, 8]]
    rows = pa.array([[1], *lists, [9]], pa.list_(pa.from_numpy_dtype(kind)))
    assert as_lists(as_bytes(rows.slice(1, 4)), kind).to_pylist() == lists
    assert as_lists(as_bytes(rows).slice(1, 4), kind).to_pylist() == lists
    assert as_lists(as_bytes(rows).take(pa.array([4, 2])), kind).to_pylist() == [[7, 8], [5]]
    assert as_lists(as_bytes(rows).take(pa.array([1])), kind).to_pylist() == [[]]


def test_every_row_once_in_order(numbered: Shards) -> None:
    read = [number for batch in Batches(numbered, "train", 64, 2).in_order() for number in numbers(batch)]
    assert read == list(range(1000))
    assert [len(batch) for batch in Batches(numbered, "test", 5, 2).in_order()] == [5, 2]


def test_an_epoch_has_every_row_once_in_another_order(numbered: Shards) -> None:
    stream = Batches(numbered, "train", 50, 2).shuffled(seed=3)
    first, second = ([n for batch in itertools.islice(stream, 20) for n in numbers(batch)] for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(1000))
    assert first != second


def test_labels_stay_with_their_rows(numbered: Shards) -> None:
    for batch in itertools.islice(Batches(numbered, "train", 50, 2).shuffled(seed=3), 30):
        assert batch.label.tolist() == [number % 2 for number in numbers(batch)]


@pytest.mark.parametrize("pool_rows", [16384, 300])
@pytest.mark.parametrize("start", [1, 7, 15, 16, 40])
def test_going_on_at_a_step(numbered: Shards, monkeypatch: pytest.MonkeyPatch, pool_rows: int, start: int) -> None:
    monkeypatch.setattr(module, "POOL_ROWS", pool_rows)
    source = Batches(numbered, "train", 60, 2)  # 16 full batches an epoch, 40 rows left over
    whole = [numbers(batch) for batch in itertools.islice(source.shuffled(seed=1), start + 5)]
    resumed = [numbers(batch) for batch in itertools.islice(source.shuffled(seed=1, start=start), 5)]
    assert resumed == whole[start:]


@pytest.fixture
def uneven(tmp_path: Path) -> Shards:
    """1000 pairs whose first token tells the row; lengths 1 ... 300, of either side."""
    random = np.random.default_rng(0)
    lengths = random.integers(1, 301, (2, 1000))
    sides = [list_array(np.repeat(np.arange(1, 1001), one).astype(np.uint16), one) for one in lengths]
    batch = record_batch(np.arange(1000) % 2, *sides)
    task = Task("uneven", classes=2, vocabulary=1001, max_length=300, towers=2)
    examples = {"train": [batch], "dev": [batch.slice(0, 10)], "test": [batch.slice(10, 7)]}
    return write_shards(tmp_path / "uneven", task, examples, expected=None, provenance={})  # type: ignore[arg-type]


def firsts(batch: Batch) -> list[int]:
    return (batch.tokens[0][:, 0] - 1).tolist()


def padded(batches: list[Batch]) -> int:
    return sum(tokens.numel() for batch in batches for tokens in batch.tokens)


def test_buckets_hold_every_row_once_with_its_label(uneven: Shards) -> None:
    stream = Batches(uneven, "train", 20, 512, trim=True, window=8).shuffled(seed=3)  # 7 windows, the last of 2 batches
    epochs = [list(itertools.islice(stream, 50)) for _ in range(2)]
    first, second = ([row for batch in epoch for row in firsts(batch)] for epoch in epochs)
    assert sorted(first) == sorted(second) == list(range(1000))
    assert first != second
    for batch in itertools.chain(*epochs):
        assert batch.label.tolist() == [row % 2 for row in firsts(batch)]
        assert firsts(batch) == (batch.tokens[1][:, 0] - 1).tolist()


def test_buckets_hold_the_rows_of_their_window(uneven: Shards) -> None:
    """The rows that meet in a window are those of as many plain batches; only their places differ."""
    plain, bucketed = (
        list(itertools.islice(Batches(uneven, "train", 20, 512, trim=True, window=window).shuffled(seed=3), 50))
        for window in (1, 8)
    )
    for start in range(0, 50, 8):
        rows = [sorted(row for batch in some[start : start + 8] for row in firsts(batch)) for some in (plain, bucketed)]
        assert rows[0] == rows[1]
    assert padded(bucketed) < 0.85 * padded(plain)


def test_buckets_sort_by_the_longer_side_and_come_in_any_order(uneven: Shards) -> None:
    source = Batches(uneven, "train", 20, 512, trim=True, window=8)
    window = list(itertools.islice(source.shuffled(seed=3), 8))
    ranges = []
    for batch in window:
        longer = torch.maximum(*(mask.sum(1) for mask in batch.mask))
        ranges.append((int(longer.min()), int(longer.max())))
    assert all(low[1] <= high[0] for low, high in itertools.pairwise(sorted(ranges)))
    assert ranges != sorted(ranges)


@pytest.mark.parametrize("pool_rows", [16384, 300])
@pytest.mark.parametrize("start", [1, 7, 8, 15, 16, 17, 40])
def test_going_on_at_a_step_within_buckets(
    uneven: Shards, monkeypatch: pytest.MonkeyPatch, pool_rows: int, start: int
) -> None:
    monkeypatch.setattr(module, "POOL_ROWS", pool_rows)
    source = Batches(uneven, "train", 60, 512, trim=True, window=5)  # 16 full batches an epoch, 40 rows left over
    whole = list(itertools.islice(source.shuffled(seed=1), start + 7))[start:]
    resumed = itertools.islice(source.shuffled(seed=1, start=start), 7)
    for one, other in zip(whole, resumed, strict=True):
        assert all(map(torch.equal, (*one.tokens, *one.mask, one.label), (*other.tokens, *other.mask, other.label)))


def test_what_is_left_of_an_epoch_is_of_any_length(uneven: Shards) -> None:
    """Not the longest rows, which an epoch would then never see."""
    source = Batches(uneven, "train", 60, 512, trim=True, window=100)
    seen = {row for batch in itertools.islice(source.shuffled(seed=1), 16) for row in firsts(batch)}
    longest = np.maximum(*(read_lengths(uneven)))
    left_over = longest[sorted(set(range(1000)) - seen)]
    assert len(left_over) == 40 and left_over.min() < 150


def read_lengths(shards: Shards) -> list[np.ndarray]:  # type: ignore[type-arg]
    (batch,) = Batches(shards, "train", 1000, 512).in_order()
    return [mask.sum(1).numpy() for mask in batch.mask]


def test_memory_is_bounded_by_the_pool(numbered: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POOL_ROWS", 256)
    source = Batches(numbered, "train", 60, 2)
    read: list[int] = []
    original = source._read
    monkeypatch.setattr(source, "_read", lambda pool: read.append(len(pool)) or original(pool))
    next(source.shuffled(seed=0))
    assert read == [1]  # one row group of 256 rows, not the whole split


def test_long_sequences_make_small_pools(uneven: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POOL_TOKENS", 256 * 2 * 300)  # two towers
    source = Batches(uneven, "train", 20, 512)
    read: list[int] = []
    original = source._read
    monkeypatch.setattr(source, "_read", lambda pool: read.append(len(pool)) or original(pool))
    assert sum(map(len, source.in_order())) == 1000
    assert read == [1, 1, 1, 1]


def test_shuffling_mixes_far_rows(numbered: Shards) -> None:
    first = numbers(next(Batches(numbered, "train", 100, 2).shuffled(0)))
    assert min(first) < 100 and max(first) > 900


def test_no_pool_is_so_small_that_it_holds_one_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows sorted by label, one row group more than a pool has."""
    monkeypatch.setattr(module, "POOL_ROWS", 4096)
    rows = 4096 + 256
    batch = record_batch(np.arange(rows) * 2 // rows, list_array(np.ones(rows, np.uint8), np.ones(rows, np.int64)))
    examples = {"train": [batch], "dev": [batch.slice(0, 10)], "test": [batch.slice(0, 10)]}
    task = Task("sorted", classes=2, vocabulary=2, max_length=1)
    shards = write_shards(tmp_path, task, examples, expected=None, provenance={})  # type: ignore[arg-type]
    for seed in range(5):
        epoch = itertools.islice(Batches(shards, "train", 64, 1).shuffled(seed), rows // 64)
        assert all(0 < batch.label.sum() < 64 for batch in epoch)


def test_seeds_differ_and_repeat(numbered: Shards) -> None:
    source = Batches(numbered, "train", 50, 2)
    assert numbers(next(source.shuffled(1))) == numbers(next(source.shuffled(1)))
    assert numbers(next(source.shuffled(1))) != numbers(next(source.shuffled(2)))


def test_two_towers_and_pieces(tmp_path: Path) -> None:
    task = Task("pairs", classes=2, vocabulary=9, max_length=24, towers=2)
    shards = write_shards(tmp_path, task, toy_examples(towers=2), expected=None, provenance={})
    batch = next(Batches(shards, "train", 16, 32).in_order())
    assert [tokens.shape for tokens in batch.tokens] == [(16, 32), (16, 32)]
    pieces = list(batch.split(6))
    assert [len(piece) for piece in pieces] == [6, 6, 4]
    assert torch.equal(torch.cat([piece.tokens[1] for piece in pieces]), batch.tokens[1])
    assert torch.equal(batch.mask[0], batch.tokens[0] != 0)


def test_every_part_is_pinned_in_its_place(uneven: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page-locking is pretended, since it needs a GPU."""
    batch = next(Batches(uneven, "train", 20, 512, trim=True).shuffled(0))
    pins: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pins.append(tensor.clone()) or pins[-1])
    pinned = batch.pinned()
    parts = [(*one.tokens, *one.mask, one.label) for one in (pinned, batch)]
    assert all(found is pin for found, pin in zip(parts[0], pins, strict=True))
    assert all(map(torch.equal, *parts))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs a GPU")
def test_pinned(uneven: Shards) -> None:
    batch = next(Batches(uneven, "train", 20, 512, trim=True).shuffled(0))
    pinned = batch.pinned()
    for one, other in zip(
        (*pinned.tokens, *pinned.mask, pinned.label), (*batch.tokens, *batch.mask, batch.label), strict=True
    ):
        assert one.is_pinned() and torch.equal(one, other)


def test_a_batch_larger_than_the_split(numbered: Shards) -> None:
    with pytest.raises(ValueError, match="a batch of 11 is larger than the split of 10 rows"):
        next(Batches(numbered, "dev", 11, 2).shuffled(0))


@pytest.mark.parametrize("content", [b"no Parquet file", None], ids=["something else", "fewer rows"])
def test_a_file_that_changes_while_it_is_read(content: bytes | None, uneven: Shards) -> None:
    """It was verified when the run began, so the method has no part in it."""
    batches = Batches(uneven, "train", 20, 512).in_order()
    path = uneven.files("train")[0]
    if content is None:
        pq.write_table(pq.read_table(path).slice(0, 1), path)
    else:
        path.write_bytes(content)
    with pytest.raises(LraError, match=f"{path} has changed while it was read .*; prepare it again"):
        list(batches)
