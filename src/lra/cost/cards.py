"""Training FLOPs a second on cards that were at hand once, for a plan on another machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """A GPU.

    Args:
        title: its name.
        memory: bytes of its memory.
        rates: FLOPs a second in training by attention, of the paper's model on ListOps: 256 sequences of 2048 tokens in
            bfloat16, compiled, with deterministic operations only. The FLOPs are those of
            :func:`lra.model.forward_flops` times three.
    """

    title: str
    memory: int
    rates: Mapping[str, float]


CARDS = {
    # Of the steps in docs/scaling.md that were compiled (torch 2.11, November 2026).
    "h200": Card(
        "an H200",
        139 * 2**30,
        {
            "softmax": 87.9e12,
            "softmax_nodropout": 122.9e12,
            "vmean": 19.9e12,
            "bigbird": 35.9e12,
            "performer": 39.4e12,
            "nystrom": 44.2e12,
            "reformer": 22.2e12,
            "linformer": 47.6e12,
            "linformer_jlt": 130.5e12,
            "informer": 41.6e12,
            "informer_mask": 39.3e12,
        },
    )
}
