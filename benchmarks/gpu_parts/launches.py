"""What a training step launches: how many kernels a method takes, which ones, and how long they run.

On a CPU, where nothing is launched, the operators are counted instead.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from gpu_parts.record import Record, Result
from gpu_parts.sizes import Sizes
from gpu_parts.steps import WARM_UP, finish, full_batch
from gpu_parts.trainers import shards_of, trainer
from lra.data.shards import Shards
from lra.devices import make_deterministic

SHOWN = 12
"""Kernels that are named, those of most time first."""
NAME = 100
"""Letters of a kernel's name: template arguments fill pages."""


def run(record: Record, sizes: Sizes, attentions: tuple[str, ...], device: torch.device) -> None:
    """All methods on the first task of the steps, uncompiled."""
    make_deterministic()
    task, batch, length = sizes.steps[0]
    with tempfile.TemporaryDirectory() as folder:
        shards = shards_of(task, length, batch, Path(folder, task))
        for name in attentions:
            what = {"attention": name, "task": task, "batch": batch, "length": length}
            record.attempt(what, functools.partial(launched, name, shards, batch, device))


def launched(name: str, shards: Shards, batch: int, device: torch.device) -> Result:
    """Launches of one step, their milliseconds, and of each kernel its name, launches and milliseconds."""
    on_card = device.type == "cuda"
    with tempfile.TemporaryDirectory() as folder:
        run = trainer(shards, name, device, Path(folder), batch=batch, compile=False)
        full = full_batch(shards, batch).to(device)
        for _ in range(WARM_UP):
            run.step(full)
        finish(device)
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_card else [])]
        with profile(activities=activities) as trace:
            run.step(full)
            finish(device)
    kind = DeviceType.CUDA if on_card else DeviceType.CPU
    kernels = [
        (event.key[:NAME], event.count, (event.self_device_time_total if on_card else event.self_cpu_time_total) / 1000)
        for event in trace.key_averages()
        if event.device_type == kind
    ]
    kernels.sort(key=lambda kernel: -kernel[2])
    return {
        "launches": sum(count for _, count, _ in kernels),
        "ms": sum(ms for _, _, ms in kernels),
        "kernels": kernels[:SHOWN],
    }
