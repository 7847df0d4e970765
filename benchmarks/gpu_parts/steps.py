"""Whole training steps of the paper's model and batch, every sequence of full length, uncompiled and compiled.

``ms`` is the time of a step; ``host_ms`` that in which the program has given the device its work: where both are equal
the card waits for the program. ``compile_seconds`` are those of an earlier part's cache where that part came so far.
"""

from __future__ import annotations

import functools
import tempfile
import time
from pathlib import Path

import torch

from gpu_parts.record import Record, Result
from gpu_parts.sizes import Sizes
from gpu_parts.trainers import shards_of, trainer
from lra.data.batches import Batch
from lra.data.shards import Shards
from lra.devices import make_deterministic, peak_memory
from lra.model import padded_length

WARM_UP = 3
GIB = 2**30


def run(record: Record, sizes: Sizes, attentions: tuple[str, ...], device: torch.device) -> None:
    """All methods on the first task, then on the others."""
    make_deterministic()
    with tempfile.TemporaryDirectory() as folder:
        for task, batch, length in sizes.steps:
            shards = shards_of(task, length, batch, Path(folder, task))
            for name in attentions:
                for compiling in (False, True):
                    what = {"attention": name, "task": task, "batch": batch, "length": length, "compiled": compiling}
                    record.attempt(what, functools.partial(timed, name, shards, batch, compiling, sizes, device))


def timed(name: str, shards: Shards, batch: int, compiling: bool, sizes: Sizes, device: torch.device) -> Result:
    """Milliseconds of a step, and what compiling took."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    with tempfile.TemporaryDirectory() as folder:
        run = trainer(shards, name, device, Path(folder), batch=batch, compile=compiling)
        run.compile()
        full = full_batch(shards, batch).to(device)
        for _ in range(WARM_UP):
            run.step(full)
        finish(device)
        started = time.perf_counter()
        for _ in range(sizes.repeats):
            run.step(full)
        given = time.perf_counter()
        finish(device)
        ended = time.perf_counter()
    return {
        "ms": (ended - started) * 1000 / sizes.repeats,
        "host_ms": (given - started) * 1000 / sizes.repeats,
        "peak_gib": peak_memory(device) / GIB,
        "micro_batch": min(run.progress.micro_batch, batch),
        "fell_back_to_eager": compiling and not run.progress.compiled,
        "compile_seconds": run.progress.times["compile"],
        "graphs": torch._dynamo.utils.counters["stats"]["unique_graphs"],
    }


def full_batch(shards: Shards, rows: int) -> Batch:
    """Random tokens without padding."""
    task = shards.task
    shape = (rows, padded_length(task))
    tokens = tuple(torch.randint(1, task.vocabulary, shape, dtype=torch.int32) for _ in range(task.towers))
    mask = tuple(torch.ones(shape, dtype=torch.bool) for _ in tokens)
    return Batch(tokens, mask, torch.randint(task.classes, (rows,)))


def finish(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
