"""Whole training steps of the paper's model and batch, every sequence of full length; on a GPU they are compiled.

``ms`` is the time of a step; ``host_ms`` that in which the program has given the device its work: where both are equal
the device waits for the program. ``kernel_ms`` and ``launches`` are those of all kernels of a step, on a CPU of all
operators. ``ok`` is false if two runs with the same seed do not have the same parameters to the bit after a few steps.
``compile_seconds`` are short where the part ``compiled`` has compiled the same model before.
"""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from gpu_parts.record import Record, Result
from gpu_parts.sizes import Sizes
from gpu_parts.trainers import refuse_other_rows, shards_of, trainer
from gpu_parts.turns import Turns
from lra.data.batches import Batch
from lra.data.shards import Shards
from lra.devices import make_deterministic, peak_memory
from lra.model import padded_length

COMPARED = 4
"""Steps after which parameters are compared."""
WARM_UP = 3
SHOWN = 12
"""Kernels that are named, those of most time first."""
NAME = 100
"""Letters of a kernel's name: template arguments fill pages."""
GIB = 2**30


def run(record: Record, sizes: Sizes, attentions: tuple[str, ...], device: torch.device, turns: Turns) -> None:
    """All methods."""
    make_deterministic()
    task, batch, length = sizes.steps
    with tempfile.TemporaryDirectory() as folder:
        shards = shards_of(task, length, batch, Path(folder, task))
        for name in attentions:
            compiling = device.type == "cuda"
            what = {"attention": name, "task": task, "batch": batch, "length": length, "compiled": compiling}
            prepare = functools.partial(prepared, name, shards, batch, compiling, sizes.repeats, device)
            record.attempt(what, functools.partial(turns.take, prepare))


def prepared(
    name: str, shards: Shards, batch: int, compiling: bool, repeats: int, device: torch.device
) -> Callable[[], Result]:
    """Build, compile and compare two runs of the same seed; the result measures the steps of the second."""
    full = full_batch(shards, batch).to(device)
    parameters, seconds, rows = [], [], []
    for _ in range(2):
        if compiling:  # otherwise importing the compiler takes longer than the steps
            torch._dynamo.utils.counters.clear()
        run = trainer(shards, name, device, Path(), batch=batch, compile=compiling)  # writes no checkpoints
        run.compile()
        seconds.append(run.progress.times["compile"])
        for _ in range(COMPARED):
            run.step(full)
        parameters.append([parameter.detach().clone() for parameter in run.model.parameters()])
        rows.append(run.progress.micro_batch)
    refuse_other_rows(*rows)
    same = all(torch.equal(one, other) for one, other in zip(*parameters, strict=True))

    def measure() -> Result:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        step = functools.partial(run.step, full)
        return {
            "ok": same,
            **timed(step, repeats, device),
            "peak_gib": peak_memory(device) / GIB,
            "micro_batch": min(run.progress.micro_batch, batch),
            "fell_back_to_eager": compiling and not run.progress.compiled,
            "compile_seconds": seconds[0],
            "graphs": torch._dynamo.utils.counters["stats"]["unique_graphs"] if compiling else 0,
            **kernels(step, device),
        }

    return measure


def timed(step: Callable[[], None], repeats: int, device: torch.device) -> Result:
    """Milliseconds of a step, and of the program's share in it."""
    for _ in range(WARM_UP):
        step()
    finish(device)
    started = time.perf_counter()
    for _ in range(repeats):
        step()
    given = time.perf_counter()
    finish(device)
    ended = time.perf_counter()
    return {"ms": (ended - started) * 1000 / repeats, "host_ms": (given - started) * 1000 / repeats}


def kernels(step: Callable[[], None], device: torch.device) -> Result:
    """Launches of a step, their milliseconds, and of each kernel its name, launches and milliseconds."""
    on_card = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_card else ProfilerActivity.CPU]) as trace:
        step()
        finish(device)
    kind = DeviceType.CUDA if on_card else DeviceType.CPU
    found = [
        (event.key[:NAME], event.count, (event.self_device_time_total if on_card else event.self_cpu_time_total) / 1000)
        for event in trace.key_averages()
        if event.device_type == kind
    ]
    found.sort(key=lambda kernel: -kernel[2])
    return {
        "kernel_ms": sum(ms for _, _, ms in found),
        "launches": sum(count for _, count, _ in found),
        "kernels": found[:SHOWN],
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
