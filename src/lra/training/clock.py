"""The time of a run, split into parts."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator

import torch

PARTS = ("train", "compile", "data", "evaluation", "loop")
"""``train``: training steps. ``compile``: compiling. ``data``: waiting for batches. ``evaluation``: on dev and test.
``loop``: the training loop without evaluation and compiling, that is steps, waits, checkpoints and everything else."""


class Clock:
    """Adds the seconds of a run to ``times``, a dictionary with a key for each of :data:`PARTS`.

    The program does not wait for a GPU after each step, because the GPU would be idle meanwhile. It puts events between
    the steps instead, and reads them once the GPU has passed them.
    """

    def __init__(self, device: torch.device, times: dict[str, float]) -> None:
        self.device, self.times = device, times
        self._events: deque[tuple[torch.cuda.Event, torch.cuda.Event, float]] = deque()
        self._read = 0.0
        self._compiling_since: float | None = None

    @contextlib.contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Add the time of the block to a part, and compiling within it to ``compile``; nothing if the block raises."""
        before, started = self.times["compile"], time.perf_counter()
        if part == "train" and self.device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            yield
            end.record()
            self._events.append((start, end, self.times["compile"] - before))
            return
        yield
        self.times[part] += time.perf_counter() - started - (self.times["compile"] - before)

    def start(self) -> None:
        """Begin to count ``loop``."""
        self._read = time.perf_counter() - self._elsewhere()

    def read(self) -> None:
        """Bring ``train`` and ``loop`` up to date, after waiting for the GPU."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.trained()
        now = time.perf_counter() - self._elsewhere()
        self.times["loop"] += now - self._read
        self._read = now

    def trained(self) -> float:
        """Seconds of training so far, without waiting for the GPU: its steps count once they are done."""
        if self.device.type == "cuda":
            while self._events and self._events[0][1].query():
                start, end, compiling = self._events.popleft()
                self.times["train"] += max(0.0, start.elapsed_time(end) / 1000 - compiling)
        return self.times["train"]

    def _elsewhere(self) -> float:
        """Seconds so far that ``loop`` does not count."""
        return self.times["compile"] + self.times["evaluation"]

    def watch_compiler(self) -> None:
        """Count compiling in ``compile``, wherever it happens, until torch's compiler is reset."""
        from torch._dynamo.callback import callback_handler  # takes a second

        callback_handler.register_start_callback(self._compiling_starts)
        callback_handler.register_end_callback(self._compiling_ends)

    def _compiling_starts(self, _: object) -> None:
        self._compiling_since = time.perf_counter()

    def _compiling_ends(self, _: object) -> None:
        if self._compiling_since is not None:
            self.times["compile"] += time.perf_counter() - self._compiling_since
            self._compiling_since = None


def busy(times: dict[str, float]) -> float | None:
    """The share of training steps in the time of the training loop; None before the first step."""
    return min(1.0, times["train"] / times["loop"]) if times["loop"] > 0 else None
