"""The cost of training: time, memory and FLOPs of one step, alone on the machine, at the task's true length.

    lra measure --attention skeinformer --tasks text

The paper's model sees random token ids, in the sizes that the task has at the scale ``paper``, whatever the scale of
the runs. Its steps are timed in turn with those of the same model with exact attention (``softmax_nodropout``), until
the 95 % confidence interval of their ratio is within 2 % or the time is up. ``measure.json`` holds

* ``status`` (ok, oom or failed) and ``reason``, then ``task``, ``attention``, ``length`` (of one tower), ``towers``,
  ``paper_batch`` (examples of an optimiser step of the task's training), ``device`` (cpu or cuda), ``machine``,
  ``settings``, ``code``. The following keys are there if the status is ok.
* ``precision``: of the timed steps; that of the task's training on a GPU, fp32 on a CPU, unless ``measure.precision``
  sets another. ``batch``: examples of the timed step; on a GPU the paper's batch, halved until it runs with both
  attentions; on a CPU as many as make 4096 positions. ``extrapolated``: whether ``batch`` is less than the paper's, so
  that ``seconds_per_1000_steps`` is a multiple of the measured time.
* ``train_ms`` and ``optimizer_ms``: {median, low, high, repeats} of the full step and of the optimiser's update alone,
  milliseconds; low and high are the extremes. ``train_ms_per_example``: the median divided by the batch.
  ``tokens_per_second``: of training; the tokens of both towers count.
* ``exact_ms_per_example``: the same for exact attention. ``ratio``: geometric mean over the pairs of the method's time
  divided by exact attention's; ``ratio_low`` and ``ratio_high`` are the ends of its 95 % confidence interval.
* ``real_lengths``: four typical lengths of the task's examples, the middles of their quarters; null, as are the next
  five keys, if the task has no padding or its lengths are unknown. ``bucket_ms_per_example``: mean time over batches of
  one such length each, padded as ``pad: bucket`` pads them (to the full length for a method of fixed length).
  ``exact_real_ms_per_example``: time of exact attention, with its model, over the real tokens only. ``real_ratio``,
  ``real_ratio_low`` and ``real_ratio_high``: the ratio of the first time to the second, as ``ratio``.
* ``inference_ms_per_example``: time of a forward pass without gradients.
* ``parameters``: their number. ``fixed_memory_bytes``: weights, buffers and the optimiser's state.
  ``peak_memory_bytes``: fixed memory and the most that a step of ``batch`` examples holds in other tensors, as torch's
  allocator counts it. ``memory_per_example_bytes``: what one more example adds to the peak. ``overhead_bytes``: memory
  of the process before the model was built (libraries; on a GPU the CUDA context). ``resident_memory_bytes``: the most
  main memory of the process until the peak was measured.
* ``memory_bytes``: the memory limit for ``largest_batch``, which follows from a straight line through the peaks at two
  batch sizes and the overhead, and is 0 if a single example does not fit. ``largest_batch_peak_bytes``: the counted
  peak of that batch, or of the paper's if that is smaller; null if it was not tried.
* ``accumulation_steps``: the least power of two that divides the paper's batch into pieces that fit; null if none does.
  ``seconds_per_1000_steps``: for the paper's batch, from the time of gradients for an example and of an update.
* ``flops_forward``: of one example, a multiply-add counted as two; matrix products and attention kernels only.
  ``flops_attention``: the part of the attentions, without projections. ``flops_formula``: that part by the method's
  leading term, 2 layers heads towers ``multiply_adds(length)``.

``checksum`` covers all other keys, so that an edit by hand is noticed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import statistics
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from lra.config.settings import AttentionSettings, MeasureSettings
from lra.cost.flops import count_flops
from lra.cost.probes import milliseconds, overhead
from lra.cost.step import Examples, Step
from lra.cost.timing import Rounds, in_turn, largest_that_runs, ratio, warm_up
from lra.data.synthetic import describe
from lra.devices import default_device, machine, make_deterministic, peak_memory, prepare_cpu
from lra.errors import LraError, reason_of
from lra.files import write_text
from lra.model import padded_length, trims
from lra.sealing import read_measure, write_measure
from lra.tasks.description import Task
from lra.training.optim import is_out_of_memory

YARDSTICK = "softmax_nodropout"
"""Exact attention, without dropout of attention weights, because no fused CPU kernel can drop them."""
TOKENS = 4096
"""Positions of one tower in a timed step on a CPU, if the settings give no ``batch``."""
SECONDS = {"cpu": 0.7, "cuda": 10.0}
"""Time after which no further pair of steps begins, if the settings give no ``seconds``."""
REAL_LENGTHS = {("listops", 2000): (512, 706, 956, 1363), ("text", 4000): (413, 771, 1244, 2322)}
"""Lengths of typical examples by task and maximum length: the 12.5, 37.5, 62.5 and 87.5 % quantiles.

ListOps: of 20 124 trees of its generator, without closing brackets. Text: of the log-normal distribution with the
median (980) and mean (1300) of IMDb's reviews in bytes. The lengths of the Arena's retrieval are unknown without its
data.
"""
ROUNDED = 64
"""``pad: bucket`` pads to a multiple of this."""


def measure(task: str, settings: MeasureSettings, out: Path, *, code: str, threads: int) -> dict[str, Any]:
    """Measure one attention on one task and write ``out``.

    Args:
        task: name of the task.
        settings: attention, task and model, and the way of measuring.
        out: the file to write.
        code: fingerprint of the code that runs.
        threads: CPU threads.

    Returns:
        The content of ``out``.

    Raises:
        OSError: ``out`` cannot be written.
    """
    prepare_cpu(threads)
    make_deterministic()  # as in training
    status, reason = "ok", ""
    results: dict[str, Any] = {}
    try:
        results = Measurement(describe(task, settings.data), settings).run()
    except Exception as problem:  # a method that crashes is a row of the table
        status, reason = "oom" if is_out_of_memory(problem) else "failed", reason_of(problem)  # or LraError, alone
        traceback.print_exc()
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
    """Write ``out``; returns its content."""
    device, described = default_device(), describe(task, settings.data)
    row = {
        "status": status,
        "reason": reason,
        "task": task,
        "attention": settings.attention.name,
        "length": padded_length(described),
        "towers": described.towers,
        "paper_batch": settings.train_batch,
        "device": device.type,
        "machine": machine(device, threads),
        "settings": dataclasses.asdict(settings),
        "code": code,
        **results,
    }
    write_measure(kept(out, settings, code), row)
    return write_measure(out, row)


def kept(out: Path, settings: MeasureSettings, code: str) -> Path:
    """Copy of ``out`` beside it, named by what made it: Snakemake deletes ``out`` before it measures again."""
    made_of = json.dumps([dataclasses.asdict(settings), code], sort_keys=True)
    return out.with_name(f"{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.json")


def restore(out: Path, settings: MeasureSettings, code: str) -> bool:
    """Put back what the same code has measured with the same settings; False if there is no such measurement."""
    if is_current(out, settings, code):
        return True
    copy = kept(out, settings, code)
    if not is_current(copy, settings, code):
        return False
    write_text(out, copy.read_text(encoding="utf-8"))
    return True


def is_current(path: Path, settings: MeasureSettings, code: str) -> bool:
    """Whether ``path`` holds a measurement by the same code with the same settings."""
    try:
        row = read_measure(path)
    except LraError:  # missing, damaged or edited
        return False
    wanted = {"settings": json.loads(json.dumps(dataclasses.asdict(settings))), "code": code}
    return {key: row.get(key) for key in wanted} == wanted


class Measurement:
    """The cost of the steps of a method and of exact attention on a task."""

    def __init__(self, task: Task, settings: MeasureSettings) -> None:
        self.task, self.settings, self.device = task, settings, default_device()
        self.length = padded_length(task)
        self.overhead = overhead(self.device)
        self.precision = settings.precision or "fp32"
        if self.device.type == "cuda":
            self.precision = settings.precision or settings.train_precision
        attentions = (settings.attention, AttentionSettings(YARDSTICK))
        self.ours, self.exact = (Step(task, settings.model, one, self.precision, self.device) for one in attentions)

    def run(self) -> dict[str, Any]:
        """The keys of ``measure.json`` that are there if the status is ok."""
        settings, batch = self.settings, self.find_batch()
        flops = count_flops(self.ours.model, *self.ours.examples(1)[:2])
        # The memory is counted first, which also warms up for the timing.
        peak, per_example = self.peaks(batch)
        resident = peak_memory(torch.device("cpu"))  # on a CPU exact attention has not run yet
        memory = int(settings.memory_gib * 2**30)
        largest = max(0, (memory - self.overhead - peak) // per_example + batch)
        tried = min(largest, settings.train_batch) if settings.check else 0
        return {
            "precision": self.precision,
            "batch": batch,
            "extrapolated": batch < settings.train_batch,
            **self.full_length(batch),
            **self.real_lengths(batch),
            "parameters": sum(parameter.numel() for parameter in self.ours.model.parameters()),
            "fixed_memory_bytes": self.ours.fixed_memory(),
            "peak_memory_bytes": peak,
            "memory_per_example_bytes": per_example,
            "overhead_bytes": self.overhead,
            "resident_memory_bytes": resident,
            "memory_bytes": memory,
            "largest_batch": largest,
            "largest_batch_peak_bytes": self.ours.peak(tried) if tried else None,
            "accumulation_steps": accumulation_steps(settings.train_batch, largest),
            **flops,
        }

    def find_batch(self) -> int:
        """The number of examples of the timed step."""
        if self.device.type == "cuda":
            return largest_that_runs(self.try_batch, self.settings.batch or self.settings.train_batch)
        return self.settings.batch or max(1, TOKENS // self.length)

    def try_batch(self, batch: int) -> None:
        """Run a step of each attention; on a GPU this also allocates the workspaces of libraries before timing."""
        for step in (self.ours, self.exact):
            step.run(step.examples(batch))
            step.optimizer.zero_grad(set_to_none=True)

    def peaks(self, batch: int) -> tuple[int, int]:
        """Most bytes held at any moment of a step of ``batch`` examples, and bytes that one more example adds."""
        # Compared with half the batch on a GPU, where twice the batch may not fit. Compared with twice the batch on a
        # CPU, where softmax with dropout computes few rows in one piece and more rows in blocks.
        other = 2 * batch if batch == 1 or self.device.type == "cpu" else batch // 2
        peak_of_other, peak = self.ours.peak(other), self.ours.peak(batch)
        return peak, max(1, (peak - peak_of_other) // (batch - other))

    def full_length(self, batch: int) -> dict[str, Any]:
        """Times with examples of full length, without padding."""
        ours, exact = self.ours.examples(batch), self.exact.examples(batch)
        updates: list[float] = []

        def train() -> float:
            step, update = self.ours.time(ours)
            updates.append(update)
            return step

        rounds = self.rounds(train, lambda: self.exact.time(exact)[0])
        times, updates = [time for time, _ in rounds], updates[-len(rounds) :]
        inference = [milliseconds(lambda: self.ours.infer(ours), self.device) for _ in range(1 + self.settings.repeats)]
        train_ms, update_ms = statistics.median(times), statistics.median(updates)
        to_exact = ratio(rounds)
        return {
            "train_ms": spread(times),
            "optimizer_ms": spread(updates),
            "train_ms_per_example": train_ms / batch,
            "exact_ms_per_example": statistics.median(exact for _, exact in rounds) / batch,
            "ratio": to_exact.value,
            "ratio_low": to_exact.low,
            "ratio_high": to_exact.high,
            "tokens_per_second": batch * self.task.towers * self.length / train_ms * 1000,
            "inference_ms_per_example": statistics.median(inference[1:]) / batch,
            # 1000 steps of n milliseconds take n seconds.
            "seconds_per_1000_steps": (train_ms - update_ms) * self.settings.train_batch / batch + update_ms,
        }

    def real_lengths(self, batch: int) -> dict[str, Any]:
        """Times with examples of typical lengths: the method padded in buckets, exact attention without padding."""
        names = (
            "bucket_ms_per_example",
            "exact_real_ms_per_example",
            "real_ratio",
            "real_ratio_low",
            "real_ratio_high",
        )
        lengths = REAL_LENGTHS.get((self.task.name, self.task.max_length))
        if lengths is None:
            return {"real_lengths": None} | dict.fromkeys(names)
        trimmed = trims(self.ours.model, self.ours.train.pad)
        padded = [-(-real // ROUNDED) * ROUNDED if trimmed else self.length for real in lengths]
        ours = [self.ours.examples(batch, length, real) for length, real in zip(padded, lengths, strict=True)]
        exact = [self.exact.examples(batch, real) for real in lengths]

        def total(step: Step, batches: list[Examples]) -> float:
            return sum(step.time(examples)[0] for examples in batches)

        rounds = self.rounds(lambda: total(self.ours, ours), lambda: total(self.exact, exact))
        count = batch * len(lengths)
        times = [statistics.median(column) / count for column in zip(*rounds, strict=True)]
        to_exact = ratio(rounds)
        values = (*times, to_exact.value, to_exact.low, to_exact.high)
        return {"real_lengths": lengths} | dict(zip(names, values, strict=True))

    def rounds(self, ours: Callable[[], float], exact: Callable[[], float]) -> Rounds:
        """Milliseconds of both calls in turn, after a warm-up."""
        warm_up((ours, exact), self.device)
        seconds = SECONDS[self.device.type] if self.settings.seconds is None else self.settings.seconds
        return in_turn((ours, exact), least=self.settings.repeats, seconds=seconds)


def accumulation_steps(batch: int, largest: int) -> int | None:
    """The least power of two that divides ``batch`` examples into pieces of at most ``largest``; None if that is 0."""
    return 1 << max(0, math.ceil(math.log2(batch / largest))) if largest else None


def spread(times: list[float]) -> dict[str, float]:
    """Median, extremes and number of some measurements."""
    return {"median": statistics.median(times), "low": min(times), "high": max(times), "repeats": len(times)}
