"""What training costs: time, memory and FLOPs of one step, alone on the machine, at the task's full length.

    lra measure --attention skeinformer --task text

The paper's model sees synthetic token ids, every sequence of the full (padded) length of the Arena's task, whatever the
scale of config.yaml. ``measure.json`` holds

* ``status`` (ok, oom or failed) and ``reason``, then ``task``, ``attention``, ``length`` (of one tower), ``towers``,
  ``paper_batch`` (examples of the paper's optimiser step; for a task of the user's own, of theirs), ``device`` (cpu or
  cuda), ``machine``, ``settings``, ``code``; and, where the status is ok:
* ``batch``: examples of the timed step. ``train_ms`` and ``optimizer_ms``: {median, low, high, repeats} of the whole
  step and of the optimiser's part in it, milliseconds; low and high are the extremes. ``train_ms_per_example``: the
  median through the batch. ``tokens_per_second``: of training, both towers counted.
* ``inference_ms_per_example``: forward pass without gradients.
* ``parameters``: number of them. ``fixed_memory_bytes``: weights, buffers and the optimiser's state.
  ``peak_memory_bytes``: these and the most that a step of ``batch`` examples allocates for tensors besides, as torch's
  allocator counts it. ``memory_per_example_bytes``: what one more example adds to the peak. ``overhead_bytes``: what
  the process held before there was a model (libraries; on a GPU the CUDA context). ``resident_memory_bytes``: the most
  that the process held in main memory.
* ``memory_bytes``: the memory that ``largest_batch`` fits into, by a straight line through the peaks at two batch sizes
  and the overhead; 0 where not even one example fits. ``largest_batch_peak_bytes``: what the allocator counted when
  that batch, or the paper's if that is smaller, was tried; null where it was not.
* ``accumulation_steps``: the least power of two that cuts the paper's batch into pieces that fit; null where none does.
  ``seconds_per_1000_steps``: of the paper's batch, from the gradients' time an example and the optimiser's a step.
* ``flops_forward``: of one example, a multiply-add counted as two, matrix products and attention kernels only.
  ``flops_attention``: the part of the attentions themselves, without projections. ``flops_formula``: the same by
  the method's leading term, 2 layers heads towers ``leading_flops(length)``.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lra.config.settings import MeasureSettings, TrainSettings
from lra.cost.flops import count_flops
from lra.cost.probes import allocated_peak, milliseconds, overhead, size
from lra.devices import default_device, machine, make_deterministic, peak_memory
from lra.errors import reason_of
from lra.files import write_json
from lra.model import build_model, padded_length
from lra.tasks.contract import Task
from lra.training.optim import autocast, is_out_of_memory, make_optimizer

TASKS = {
    "listops": Task("listops", classes=10, vocabulary=15, max_length=2000),
    "text": Task("text", classes=2, vocabulary=257, max_length=4000),
    "retrieval": Task("retrieval", classes=2, vocabulary=257, max_length=4000, towers=2),
    "pathfinder": Task("pathfinder", classes=2, vocabulary=256, max_length=1024),
    "image": Task("image", classes=10, vocabulary=256, max_length=1024),
}
"""The tasks as the Arena has them, and config.yaml at the scale paper."""

PAPER_BATCH = {"listops": 256, "text": 128, "retrieval": 64, "pathfinder": 512, "image": 256}
"""Chen et al. 2022, arXiv 2112.05359, appendix."""

TOKENS = 4096
"""Positions of one tower that pass through the model in a timed step unless ``batch`` says otherwise."""


def measure(task: str, settings: MeasureSettings, out: Path, *, code: str, threads: int) -> dict[str, Any]:
    """Measure one attention on one task and write ``out``.

    Args:
        task: a key of :data:`TASKS`, or the name of ``settings.task``.
        settings: what is measured, and how.
        out: the file to write.
        code: fingerprint of the code that runs.
        threads: CPU threads.

    Returns:
        What ``out`` says.

    Raises:
        OSError: ``out`` cannot be written.
    """
    torch.set_num_threads(threads)
    make_deterministic()  # as in training
    status, reason = "ok", ""
    results: dict[str, Any] = {}
    try:
        results = Measurement(settings.task or TASKS[task], settings).run()
    except Exception as problem:  # a method that crashes is a row of the table
        traceback.print_exc()
        status = "oom" if is_out_of_memory(problem) else "failed"
        reason = reason_of(problem)
    return write(task, settings, out, status, reason, code, threads, results)


def write(
    task: str,
    settings: MeasureSettings,
    out: Path,
    status: str,
    reason: str,
    code: str,
    threads: int,
    results: Mapping[str, Any],
) -> dict[str, Any]:
    """Write ``out``; returns what it says."""
    device, described = default_device(), settings.task or TASKS[task]
    row = {
        "status": status,
        "reason": reason,
        "task": task,
        "attention": settings.attention.name,
        "length": padded_length(described),
        "towers": described.towers,
        "paper_batch": settings.step or PAPER_BATCH[task],
        "device": device.type,
        "machine": machine(device, threads),
        "settings": dataclasses.asdict(settings),
        "code": code,
        **results,
    }
    write_json(out, row)
    return row


class Measurement:
    """A model, its optimiser, and synthetic examples of a task."""

    def __init__(self, task: Task, settings: MeasureSettings) -> None:
        self.task, self.settings, self.device = task, settings, default_device()
        self.length = padded_length(task)
        self.batch = settings.batch or max(1, TOKENS // self.length)
        self.overhead = overhead(self.device)
        torch.manual_seed(0)
        self.train = TrainSettings(self.batch, 1e-4, warmup=1, steps=1, evaluate_every=1, precision=settings.precision)
        self.model = build_model(task, settings.model, settings.attention).to(self.device)
        self.optimizer, _ = make_optimizer(self.model.parameters(), self.train)
        self._make_optimizer_state()

    def _make_optimizer_state(self) -> None:
        """An update by zero, so that no measured step is the one that allocates the state."""
        for parameter in self.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def run(self) -> dict[str, Any]:
        """What ``measure.json`` says where the status is ok."""
        inputs = self.examples(self.batch)
        flops = count_flops(self.model, *self.examples(1)[:2])
        if self.device.type == "cuda":
            self.step(*inputs)  # allocates the libraries' workspaces, which are no part of a step
        # The memory is counted first and warms up for the timing.
        peak_of_twice, peak = self.peak(2 * self.batch), self.peak(self.batch)
        per_example = max(1, (peak_of_twice - peak) // self.batch)
        memory = int(self.settings.memory_gb * 2**30)
        largest = max(0, (memory - self.overhead - peak) // per_example + self.batch)
        times, updates = self.time_training(*inputs)
        paper_batch = self.settings.step or PAPER_BATCH[self.task.name]
        tokens = self.batch * self.task.towers * self.length
        gradient_ms = statistics.median(times) - statistics.median(updates)
        return {
            "batch": self.batch,
            "train_ms": spread(times),
            "optimizer_ms": spread(updates),
            "train_ms_per_example": statistics.median(times) / self.batch,
            "tokens_per_second": tokens / statistics.median(times) * 1000,
            "inference_ms_per_example": statistics.median(self.time_inference(*inputs[:2])) / self.batch,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "fixed_memory_bytes": self.fixed_memory(),
            "peak_memory_bytes": peak,
            "memory_per_example_bytes": per_example,
            "overhead_bytes": self.overhead,
            "resident_memory_bytes": peak_memory(torch.device("cpu")),
            "memory_bytes": memory,
            "largest_batch": largest,
            "largest_batch_peak_bytes": self.peak(min(largest, paper_batch))
            if self.settings.check and largest
            else None,
            "accumulation_steps": accumulation_steps(paper_batch, largest),
            # 1000 steps of so many milliseconds are as many seconds.
            "seconds_per_1000_steps": gradient_ms * paper_batch / self.batch + statistics.median(updates),
            **flops,
        }

    def examples(self, batch: int) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Random tokens and a mask without padding, (batch, length) a tower, and labels (batch,)."""
        shape = (batch, self.length)
        tokens = [torch.randint(self.task.vocabulary, shape, device=self.device) for _ in range(self.task.towers)]
        mask = [torch.ones(shape, dtype=torch.bool, device=self.device) for _ in range(self.task.towers)]
        return tokens, mask, torch.randint(self.task.classes, (batch,), device=self.device)

    def gradients(self, tokens: list[Tensor], mask: list[Tensor], label: Tensor) -> None:
        """Forward and backward pass."""
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.train, self.device):
            loss = cross_entropy(self.model(tokens, mask), label)
        loss.backward()

    def step(self, tokens: list[Tensor], mask: list[Tensor], label: Tensor) -> None:
        """One optimiser step."""
        self.gradients(tokens, mask, label)
        self.optimizer.step()

    def fixed_memory(self) -> int:
        """Bytes of weights, buffers and the optimiser's state."""
        states = [value for state in self.optimizer.state.values() for value in state.values()]
        return size([*self.model.parameters(), *self.model.buffers(), *states])

    def peak(self, batch: int) -> int:
        """Bytes allocated at the worst moment of a step of ``batch`` examples, fixed memory included."""
        self.optimizer.zero_grad(set_to_none=True)
        return self.fixed_memory() + allocated_peak(lambda: self.step(*self.examples(batch)), self.device)

    def time_training(self, tokens: list[Tensor], mask: list[Tensor], label: Tensor) -> tuple[list[float], list[float]]:
        """Milliseconds of each repeated step, and of the optimiser's part in it."""
        times, updates = [], []

        def step() -> None:
            gradient_ms = milliseconds(lambda: self.gradients(tokens, mask, label), self.device)
            updates.append(milliseconds(self.optimizer.step, self.device))
            times.append(gradient_ms + updates[-1])

        self.repeat(step)
        return times, updates

    @torch.no_grad()
    def time_inference(self, tokens: list[Tensor], mask: list[Tensor]) -> list[float]:
        """Milliseconds of each repeated forward pass."""
        self.model.eval()
        times: list[float] = []

        def forward() -> None:
            with autocast(self.train, self.device):
                self.model(tokens, mask)

        forward()
        self.repeat(lambda: times.append(milliseconds(forward, self.device)))
        self.model.train()
        return times

    def repeat(self, call: Callable[[], None]) -> None:
        """Call ``repeats`` times, but begin no third call after ``seconds``."""
        started = time.monotonic()
        for number in range(self.settings.repeats):
            if number >= 2 and time.monotonic() - started > self.settings.seconds:
                return
            call()


def accumulation_steps(batch: int, largest: int) -> int | None:
    """The least power of two that cuts ``batch`` examples into pieces of at most ``largest``; None for 0."""
    return 1 << max(0, math.ceil(math.log2(batch / largest))) if largest else None


def spread(times: list[float]) -> dict[str, float]:
    """Median, extremes and number of some measurements."""
    return {"median": statistics.median(times), "low": min(times), "high": max(times), "repeats": len(times)}
