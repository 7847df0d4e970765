from __future__ import annotations

import itertools
import threading
from collections.abc import Generator

import pytest
import torch

from lra.data.batches import Batch
from lra.data.prefetch import prefetch


@pytest.fixture(autouse=True)
def unpinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Page-locked memory needs a GPU."""
    monkeypatch.setattr(Batch, "pinned", lambda self: self)


class Source:
    """Batches 0, 1, ... that say which thread made them; ``broken`` is one that cannot be made."""

    def __init__(self, count: int, broken: int = -1) -> None:
        self.made: list[str] = []
        self.count, self.broken = count, broken

    def __iter__(self) -> Generator[Batch, None, None]:
        for number in range(self.count):
            if number == self.broken:
                raise OSError("the disk is gone")
            self.made.append(threading.current_thread().name)
            tokens = torch.full((2, 3), number)
            yield Batch((tokens,), (tokens > 0,), tokens[:, 0])


def number(batch: Batch) -> int:
    return int(batch.label[0])


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.mark.parametrize("count", [0, 1, 3, 10])
def test_the_same_batches_from_another_thread(count: int) -> None:
    source = Source(count)
    assert [number(batch) for batch in prefetch(iter(source), ahead=3)] == list(range(count))
    assert len(source.made) == count and all(name.startswith("prefetch") for name in source.made)
    assert not threads()


def test_it_stays_so_many_ahead() -> None:
    source = Source(100)
    batches = prefetch(iter(source), ahead=3)
    for _ in itertools.islice(batches, 5):
        pass
    batches.close()
    assert 5 <= len(source.made) <= 8


def test_an_error_comes_in_its_place() -> None:
    batches = prefetch(iter(Source(10, broken=4)), ahead=3)
    assert [number(next(batches)) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)
    assert not threads()


def test_closing_ends_the_thread() -> None:
    batches = prefetch(iter(Source(1000)), ahead=3)
    next(batches)
    assert threads()
    batches.close()
    assert not threads()
