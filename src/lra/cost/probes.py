"""How time and memory of a call are read, on a CPU and on a GPU."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from lra.devices import peak_memory


def overhead(device: torch.device) -> int:
    """Bytes that a process without any tensor yet holds: libraries, or on a GPU the context; other processes' too."""
    if device.type == "cuda":
        torch.zeros(1, device=device)  # makes the context
        free, total = torch.cuda.mem_get_info(device)
        return total - free - torch.cuda.memory_reserved(device)
    return peak_memory(device)


def allocated_peak(call: Callable[[], object], device: torch.device) -> int:
    """Bytes that ``call`` has allocated for tensors at its worst moment, above what was allocated before.

    On both kinds of device this counts what torch's allocator hands out, so it repeats to the byte on a CPU and says
    nothing of memory that an allocator keeps for later or that libraries take for themselves.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler tells stderr that it starts
    # Not torch.profiler, whose first use imports torch's compiler for a second.
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        call()
    events = [event for event in profile.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()  # negative where memory is freed
        peak = max(peak, held)
    return peak


def size(tensors: Iterable[Tensor]) -> int:
    """Bytes of some tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def milliseconds(call: Callable[[], object], device: torch.device) -> float:
    """Time that one call takes, by CUDA events on a GPU."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        start.record()
        call()
        end.record()
        torch.cuda.synchronize(device)
        return float(start.elapsed_time(end))
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000
