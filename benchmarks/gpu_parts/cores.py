"""Forward and backward pass of every core against exact attention, in turn, in bfloat16.

On a GPU the core is compiled and restricted to deterministic operations, as in training; exact attention is what torch
does by default: without a mask (``unmasked_ms``), with one, and over the real tokens only. ``ratio`` is the core's time
divided by that of exact attention without a mask, ``target`` the ratio that this project aims at.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gpu_parts.record import Record, Result
from gpu_parts.sizes import Sizes
from gpu_parts.turns import Turns
from lra.attention import build
from lra.attention.registry import METHODS
from lra.cost.attention_core import HEAD_DIM, HEADS, MIB, PackedPass, Pass, exact_attention, unmasked_attention
from lra.cost.probes import allocated_peak, milliseconds
from lra.cost.timing import in_turn, ratio
from lra.devices import make_deterministic
from lra.training.compiling import share_cache

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


def run(record: Record, sizes: Sizes, attentions: tuple[str, ...], device: torch.device, turns: Turns) -> None:
    """All cores at the first length, then at the next."""
    make_deterministic()
    share_cache()
    for batch, length in sizes.cores:
        for name in attentions:
            what = {"attention": name, "batch": batch, "length": length, "compiled": device.type == "cuda"}
            prepare = functools.partial(prepared, **what, sizes=sizes, device=device)
            record.attempt(what, functools.partial(turns.take, prepare))


def prepared(
    attention: str, batch: int, length: int, compiled: bool, sizes: Sizes, device: torch.device
) -> Callable[[], Result]:
    """Build a core and run it once, which compiles it; the result measures it."""
    torch.manual_seed(0)
    shape = {"heads": HEADS, "head_dim": HEAD_DIM, "max_length": length, "features": 256}
    method = build(attention, **shape, **METHODS[attention].options).to(device).train()
    given = (length, batch, device, torch.bfloat16)
    ours = Pass(compile_core(method) if compiled else method, *given)
    ours()
    peak = allocated_peak(ours, device) / MIB

    def measure() -> Result:
        exact = {"unmasked_ms": Pass(unmasked_attention, *given), "masked_ms": Pass(exact_attention, *given)}
        if device.type == "cuda":
            exact["varlen_ms"] = PackedPass(exact_attention, *given)
        calls = [functools.partial(milliseconds, ours, device), *(by_default(one, device) for one in exact.values())]
        for call in calls:
            call()
        rounds = in_turn(calls, least=REPEATS, seconds=sizes.core_seconds)
        medians = dict(zip(("ms", *exact), map(statistics.median, zip(*rounds, strict=True)), strict=True))
        target = TARGETS[attention][LENGTHS.index(length)] if attention in TARGETS and length in LENGTHS else None
        return {"ratio": ratio(rounds).value, "target": target, **medians, "peak_mib": peak}

    return measure


def compile_core(method: nn.Module) -> nn.Module:
    """The method compiled with the options of training (:mod:`lra.training.compiling`), for one shape."""
    torch._dynamo.reset()
    options: Any = {"deterministic": True} if "deterministic" in torch._inductor.list_options() else None
    return torch.compile(method, fullgraph=True, dynamic=False, options=options)


def by_default(one: Pass, device: torch.device) -> Callable[[], float]:
    """A call that returns the milliseconds of a pass in which torch may use any operation."""

    def call() -> float:
        torch.use_deterministic_algorithms(False)
        try:
            return milliseconds(one, device)
        finally:
            torch.use_deterministic_algorithms(True)

    return call
