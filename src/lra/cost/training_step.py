"""What training costs: time, memory and FLOPs of one step, alone on the machine, at the task's true length.

    lra measure --attention skeinformer --tasks text

The paper's model sees random token ids of the task as it is at the scale ``paper``, whatever the scale of the runs.
Steps are timed in turn with those of the same model with exact attention (``softmax_nodropout``), and go on until their
ratio's 95 % confidence interval is within 2 % or the time is up. ``measure.json`` holds

* ``status`` (ok, oom or failed) and ``reason``, then ``task``, ``attention``, ``length`` (of one tower), ``towers``,
  ``paper_batch`` (examples of an optimiser step of the task's training), ``device`` (cpu or cuda), ``machine``,
  ``settings``, ``code``; and, where the status is ok:
* ``precision``: of the timed steps, that of the task's training on a GPU, fp32 on a CPU, unless ``measure.precision``
  says otherwise. ``batch``: examples of the timed step: on a GPU the paper's, halved until it runs with both
  attentions; on a CPU as many as make 4096 positions. ``extrapolated``: whether that is less than the paper's batch, so
  that ``seconds_per_1000_steps`` is multiplied up and not measured.
* ``train_ms`` and ``optimizer_ms``: {median, low, high, repeats} of the whole step and of the optimiser's part in it,
  milliseconds; low and high are the extremes. ``train_ms_per_example``: the median through the batch.
  ``tokens_per_second``: of training, both towers counted.
* ``exact_ms_per_example``: the same of exact attention. ``ratio``: geometric mean of the pairs' ratios, the method's
  step through exact attention's; ``ratio_low`` and ``ratio_high`` are its 95 % confidence interval.
* ``real_lengths``: where the task has padding and its lengths are known, four typical ones, the middles of the quarters
  of its examples; else null, and so is what follows. ``bucket_ms_per_example``: mean over batches of examples of one
  such length each, padded as ``pad: bucket`` does (a method of fixed length sees the full one).
  ``exact_real_ms_per_example``: of exact attention, and the model around it, over the real tokens only.
  ``real_ratio``, ``real_ratio_low`` and ``real_ratio_high``: one through the other.
* ``inference_ms_per_example``: forward pass without gradients.
* ``parameters``: number of them. ``fixed_memory_bytes``: weights, buffers and the optimiser's state.
  ``peak_memory_bytes``: these and the most that a step of ``batch`` examples allocates for tensors besides, as torch's
  allocator counts it. ``memory_per_example_bytes``: what one more example adds to the peak. ``overhead_bytes``: what
  the process held before there was a model (libraries; on a GPU the CUDA context). ``resident_memory_bytes``: the most
  that the process held in main memory until then.
* ``memory_bytes``: the memory that ``largest_batch`` fits into, by a straight line through the peaks at two batch sizes
  and the overhead; 0 where not even one example fits. ``largest_batch_peak_bytes``: what the allocator counted when
  that batch, or the paper's if that is smaller, was tried; null where it was not.
* ``accumulation_steps``: the least power of two that cuts the paper's batch into pieces that fit; null where none does.
  ``seconds_per_1000_steps``: of the paper's batch, from the gradients' time an example and the optimiser's a step.
* ``flops_forward``: of one example, a multiply-add counted as two, matrix products and attention kernels only.
  ``flops_attention``: the part of the attentions themselves, without projections. ``flops_formula``: the same by
  the method's leading term, 2 layers heads towers ``multiply_adds(length)``.

``checksum`` is one of all that, so that an edit by hand is noticed.
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
from lra.devices import default_device, machine, make_deterministic, peak_memory
from lra.errors import LraError, reason_of
from lra.files import write_text
from lra.model import padded_length, trims
from lra.sealing import read_measure, write_measure
from lra.tasks.description import Task, trimmed
from lra.training.optim import is_out_of_memory

YARDSTICK = "softmax_nodropout"
"""Exact attention, without the dropout of attention weights that no fused CPU kernel has."""
TOKENS = 4096
"""Positions of one tower that pass through the model in a timed step on a CPU, unless ``batch`` says otherwise."""
SECONDS = {"cpu": 1.0, "cuda": 10.0}
"""No further pair of steps begins after so long, unless ``seconds`` says otherwise."""
REAL_LENGTHS = {("listops", 2000): (512, 706, 956, 1363), ("text", 4000): (413, 771, 1244, 2322)}
"""Lengths of typical examples of a task with this maximum: the 12.5, 37.5, 62.5 and 87.5 % quantiles.

ListOps: of 20 124 trees of its generator, closing brackets left out. Text: of the log-normal distribution with the
median (980) and mean (1300) of IMDb's reviews in bytes. Those of the Arena's retrieval are not known without its data.
"""


def measure(task: str, settings: MeasureSettings, out: Path, *, code: str, threads: int) -> dict[str, Any]:
    """Measure one attention on one task and write ``out``.

    Args:
        task: its name.
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
    """Write ``out``; returns what it says."""
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
    """Whether ``path`` holds what the same code has measured with the same settings."""
    try:
        row = read_measure(path)
    except LraError:  # missing, damaged or edited
        return False
    wanted = {"settings": json.loads(json.dumps(dataclasses.asdict(settings))), "code": code}
    return {key: row.get(key) for key in wanted} == wanted


class Measurement:
    """The steps of a method and of exact attention on a task, and what they cost."""

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
        """What ``measure.json`` says where the status is ok."""
        settings, batch = self.settings, self.find_batch()
        flops = count_flops(self.ours.model, *self.ours.examples(1)[:2])
        # The memory is counted first and warms up for the timing.
        peak, per_example = self.peaks(batch)
        resident = peak_memory(torch.device("cpu"))  # before exact attention runs, on a CPU
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
        """Examples of the timed step."""
        if self.device.type == "cuda":
            return largest_that_runs(self.try_batch, self.settings.batch or self.settings.train_batch)
        return self.settings.batch or max(1, TOKENS // self.length)

    def try_batch(self, batch: int) -> None:
        """A step of either attention; on a GPU it also allocates the libraries' workspaces, which are no part of it."""
        for step in (self.ours, self.exact):
            step.run(step.examples(batch))
            step.optimizer.zero_grad(set_to_none=True)

    def peaks(self, batch: int) -> tuple[int, int]:
        """Bytes at the worst moment of a step of ``batch`` examples, and what one more example adds."""
        # Twice the batch may not fit a GPU. Half of it is no measure on a CPU, where softmax with dropout takes few
        # rows in one piece and more rows in blocks.
        other = 2 * batch if batch == 1 or self.device.type == "cpu" else batch // 2
        peak_of_other, peak = self.ours.peak(other), self.ours.peak(batch)
        return peak, max(1, (peak - peak_of_other) // (batch - other))

    def full_length(self, batch: int) -> dict[str, Any]:
        """Times where every position of every example is a real token."""
        ours, exact = self.ours.examples(batch), self.exact.examples(batch)
        updates: list[float] = []

        def train() -> float:
            whole, update = self.ours.time(ours)
            updates.append(update)
            return whole

        rounds = self.rounds(train, lambda: self.exact.time(exact)[0])
        times, updates = [one for one, _ in rounds], updates[-len(rounds) :]
        inference = [milliseconds(lambda: self.ours.infer(ours), self.device) for _ in range(1 + self.settings.repeats)]
        train_ms, update_ms = statistics.median(times), statistics.median(updates)
        found = ratio(rounds)
        return {
            "train_ms": spread(times),
            "optimizer_ms": spread(updates),
            "train_ms_per_example": train_ms / batch,
            "exact_ms_per_example": statistics.median(exact for _, exact in rounds) / batch,
            "ratio": found.value,
            "ratio_low": found.low,
            "ratio_high": found.high,
            "tokens_per_second": batch * self.task.towers * self.length / train_ms * 1000,
            "inference_ms_per_example": statistics.median(inference[1:]) / batch,
            # 1000 steps of so many milliseconds are as many seconds.
            "seconds_per_1000_steps": (train_ms - update_ms) * self.settings.train_batch / batch + update_ms,
        }

    def real_lengths(self, batch: int) -> dict[str, Any]:
        """Times where examples have the task's own lengths: the method's in buckets, exact attention's unpadded."""
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
        padded = [
            trimmed(real, self.length) if trims(self.ours.model, self.ours.train.pad) else self.length
            for real in lengths
        ]
        ours = [self.ours.examples(batch, length, real) for length, real in zip(padded, lengths, strict=True)]
        exact = [self.exact.examples(batch, real) for real in lengths]

        def total(step: Step, batches: list[Examples]) -> float:
            return sum(step.time(examples)[0] for examples in batches)

        rounds = self.rounds(lambda: total(self.ours, ours), lambda: total(self.exact, exact))
        through = batch * len(lengths)
        found = ratio(rounds)
        times = [statistics.median(column) / through for column in zip(*rounds, strict=True)]
        return {"real_lengths": lengths} | dict(zip(names, (*times, found.value, found.low, found.high), strict=True))

    def rounds(self, ours: Callable[[], float], exact: Callable[[], float]) -> Rounds:
        """Milliseconds of both in turn, after a warm-up."""
        warm_up((ours, exact), self.device)
        seconds = SECONDS[self.device.type] if self.settings.seconds is None else self.settings.seconds
        return in_turn((ours, exact), least=self.settings.repeats, seconds=seconds)


def accumulation_steps(batch: int, largest: int) -> int | None:
    """The least power of two that cuts ``batch`` examples into pieces of at most ``largest``; None for 0."""
    return 1 << max(0, math.ceil(math.log2(batch / largest))) if largest else None


def spread(times: list[float]) -> dict[str, float]:
    """Median, extremes and number of some measurements."""
    return {"median": statistics.median(times), "low": min(times), "high": max(times), "repeats": len(times)}
