"""Prefetching: a thread makes the next batches while the device computes."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

from lra.data.batches import Batch

AHEAD = 16
"""Number of prefetched batches, enough for the time in which the next pool or window is read and shuffled."""


def ready(
    batches: Generator[Batch, None, None], device: torch.device
) -> contextlib.closing[Generator[Batch, None, None]]:
    """The same batches, prefetched for a GPU; on a CPU a step takes 900 times as long as making its batch."""
    return contextlib.closing(prefetch(batches) if device.type == "cuda" else batches)


def prefetch(batches: Iterator[Batch], ahead: int = AHEAD) -> Generator[Batch, None, None]:
    """The same batches in the same order, in pinned memory, ``ahead`` of them in the making while one is used.

    An error of ``batches`` is raised in place of its batch. Close the iterator to end the thread.
    """
    with ThreadPoolExecutor(1, "prefetch") as thread:

        def make() -> Batch | None:
            batch = next(batches, None)
            return batch.pinned() if batch else None

        waiting = deque(thread.submit(make) for _ in range(ahead))
        try:
            while batch := waiting.popleft().result():
                waiting.append(thread.submit(make))
                yield batch
        finally:
            thread.shutdown(cancel_futures=True)
