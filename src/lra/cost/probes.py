"""Time and memory of a call, on a CPU and on a GPU."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from lra.devices import peak_memory


def overhead(device: torch.device) -> int:
    """Bytes in use before the first tensor: by the libraries; on a GPU by the context and by other processes."""
    if device.type == "cuda":
        torch.zeros(1, device=device)  # makes the context
        free, total = torch.cuda.mem_get_info(device)
        return total - free - torch.cuda.memory_reserved(device)
    return peak_memory(device)


def allocated_peak(call: Callable[[], object], device: torch.device) -> int:
    """Most bytes of tensors that ``call`` holds at any moment, above those allocated before it.

    This counts what torch's allocator hands out, so on a CPU it repeats to the byte. It leaves out memory that the
    allocator keeps for later, and memory that libraries allocate themselves.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # otherwise the profiler writes to stderr that it starts
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
    """Bytes of the elements of some tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def milliseconds(call: Callable[[], object], device: torch.device) -> float:
    """Milliseconds that one call takes; on a GPU by CUDA events."""
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
