"""What a run's time goes into."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator

import torch

PARTS = ("train", "compile", "data", "evaluation", "loop")
"""Training steps; compiling; waits of the program for batches; evaluation on dev and test. ``loop`` is the whole of the
training loop without evaluation and compiling: steps, waits, checkpoints and what lies between."""


class Clock:
    """Adds the seconds of a run to ``times``, a dictionary with a key for each of :data:`PARTS`.

    A GPU works behind the program that gives it work, and waiting for it would leave it idle. So marks are put among
    its work, and read when it is done anyway.
    """

    def __init__(self, device: torch.device, times: dict[str, float]) -> None:
        self.device, self.times = device, times
        self._marks: deque[tuple[torch.cuda.Event, torch.cuda.Event, float]] = deque()
        self._read = 0.0
        self._compiling_since: float | None = None

    @contextlib.contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Add what is done inside to a part, but compiling to its own; what raises counts nothing."""
        before, started = self.times["compile"], time.perf_counter()
        if self.device.type == "cuda":
            marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if part == "train" else []
            if marks:
                marks[0].record()
                yield
                marks[1].record()
                self._marks.append((marks[0], marks[1], self.times["compile"] - before))
                return
        yield
        self.times[part] += time.perf_counter() - started - (self.times["compile"] - before)

    def start(self) -> None:
        """The training loop begins."""
        self._read = time.perf_counter() - self._elsewhere()

    def read(self) -> None:
        """Bring ``train`` and ``loop`` up to date; a GPU's work is waited for."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.trained()
        now = time.perf_counter() - self._elsewhere()
        self.times["loop"] += now - self._read
        self._read = now

    def trained(self) -> float:
        """Seconds of training so far, without waiting: a GPU's steps count once they are done."""
        if self.device.type == "cuda":
            while self._marks and self._marks[0][1].query():
                start, end, compiling = self._marks.popleft()
                self.times["train"] += max(0.0, start.elapsed_time(end) / 1000 - compiling)
        return self.times["train"]

    def _elsewhere(self) -> float:
        """Seconds so far that are no part of the loop."""
        return self.times["compile"] + self.times["evaluation"]

    def watch_compiler(self) -> None:
        """Have torch's compiler tell when it begins and ends, wherever that is, until it is reset."""
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
    """The share of the training loop that its steps take; None before any."""
    return min(1.0, times["train"] / times["loop"]) if times["loop"] > 0 else None
