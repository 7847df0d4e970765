"""Forward and backward pass of every core against exact attention without a mask, in turn, in bfloat16.

``ratio`` is the method's time over that of exact attention as torch runs it by default; ``strict_ratio`` has the method
restricted to deterministic operations, as in training. ``target`` is what this project aims at. Then the same of the
methods compiled. The card's own limits come first.
"""

from __future__ import annotations

import functools
import itertools
import statistics
from collections.abc import Callable

import torch

from gpu_parts.record import Record, Result
from gpu_parts.sizes import Sizes
from lra.attention import build
from lra.attention.registry import METHODS
from lra.cost.attention_core import HEAD_DIM, HEADS, MIB, PackedPass, Pass, exact_attention, unmasked_attention
from lra.cost.limits import measure_limits
from lra.cost.probes import allocated_peak, milliseconds
from lra.cost.timing import Rounds, in_turn, ratio

LENGTHS = (2048, 4096, 16384)
SKETCHES = (0.4, 0.25, 0.08)
TARGETS = {
    "softmax_nodropout": (1.25, 1.25, 1.25),
    "softmax": (1.7, 1.7, 1.7),
    "skeinformer": (0.6, 0.35, 0.10),
    **dict.fromkeys(("skein_uniform", "linformer", "informer", "informer_mask"), SKETCHES),
    "bigbird": (0.8, 0.5, 0.15),
    "performer": (0.8, 0.5, 0.15),
    "reformer": (1.5, 0.8, 0.25),
    "nystrom": (2.0, 1.0, 0.3),
}
"""Ratios at these lengths."""
REPEATS = 5
COMPILED = 2
"""Lengths, of the first, at which cores are also timed compiled: that takes seconds each."""


def run(record: Record, sizes: Sizes, attentions: tuple[str, ...], device: torch.device) -> None:
    """The yardsticks and all cores."""
    for dtype in (torch.bfloat16, torch.float32):
        limits = measure_limits(device, dtype)
        record.add(limits=str(dtype), copy_gb_s=limits.copy_gb_s, matmul_tflop_s=limits.matmul_tflop_s)
    for batch, length in sizes.cores:
        what = {"attention": "exact", "batch": batch, "length": length}
        record.attempt(what, functools.partial(yardsticks, batch, length, sizes, device))
    plain = itertools.product((False,), sizes.cores, attentions)
    compiled = itertools.product((True,), sizes.cores[:COMPILED], attentions)
    for compiling, (batch, length), name in itertools.chain(plain, compiled):
        what = {"attention": name, "batch": batch, "length": length, "compiled": compiling}
        record.attempt(what, functools.partial(timed, name, batch, length, compiling, sizes, device))


def yardsticks(batch: int, length: int, sizes: Sizes, device: torch.device) -> Result:
    """Milliseconds of exact attention without a mask, with one, and over the real tokens only."""
    given = (length, batch, device, torch.bfloat16)
    passes: list[Pass] = [Pass(unmasked_attention, *given), Pass(exact_attention, *given)]
    names = ["unmasked_ms", "masked_ms"]
    if device.type == "cuda":
        passes.append(PackedPass(exact_attention, *given))
        names.append("varlen_ms")
    for one in passes:
        one()
    rounds = in_turn([clocked(one, device) for one in passes], least=REPEATS, seconds=sizes.core_seconds)
    return dict(zip(names, map(statistics.median, zip(*rounds, strict=True)), strict=True))


def timed(name: str, batch: int, length: int, compiling: bool, sizes: Sizes, device: torch.device) -> Result:
    """Times and peak memory of a core, its ratios to exact attention without a mask, and the target."""
    torch.manual_seed(0)
    shape = {"heads": HEADS, "head_dim": HEAD_DIM, "max_length": length, "features": 256}
    method = build(name, **shape, **METHODS[name].options).to(device).train()
    parameters = list(method.parameters())
    if compiling:
        torch._dynamo.reset()
        ours = Pass(torch.compile(method, fullgraph=True, dynamic=False), length, batch, device, torch.bfloat16)
    else:
        ours = Pass(method, length, batch, device, torch.bfloat16)
    ours.parameters = parameters
    exact = Pass(unmasked_attention, length, batch, device, torch.bfloat16)
    # A compiled core is another graph where only deterministic operations are allowed: one is enough.
    calls = [clocked(exact, device), clocked(ours, device, strict=True)]
    calls += [] if compiling else [clocked(ours, device)]
    peak = None if compiling else allocated_peak(ours, device) / MIB
    for call in calls:
        call()
    rounds = in_turn(calls, least=REPEATS, seconds=sizes.core_seconds)
    target = TARGETS[name][LENGTHS.index(length)] if name in TARGETS and length in LENGTHS else None
    found = {"strict_ms": statistics.median(one[1] for one in rounds), "strict_ratio": against(rounds, 1)}
    if not compiling:
        found |= {"ms": statistics.median(one[2] for one in rounds), "ratio": against(rounds, 2)}
    return found | {"target": target, "peak_mib": peak}


def against(rounds: Rounds, place: int) -> float:
    """Geometric mean of call number ``place`` over the first, which is exact attention."""
    return ratio([(times[place], times[0]) for times in rounds]).value


def clocked(one: Callable[[], None], device: torch.device, strict: bool = False) -> Callable[[], float]:
    """A call that returns its milliseconds, deterministic operations only where it is strict."""

    def call() -> float:
        torch.use_deterministic_algorithms(strict)
        try:
            return milliseconds(one, device)
        finally:
            torch.use_deterministic_algorithms(False)

    return call
