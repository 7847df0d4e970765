"""How large the parts are: on a GPU the paper's sizes, on a CPU just enough to run every line."""

from __future__ import annotations

from dataclasses import dataclass

from lra.attention.registry import METHODS

PAPER = tuple(METHODS)[:16]
"""The rows of the paper's table."""
FIRST = ("skeinformer", "softmax_nodropout", "vmean", "softmax", "skein_uniform", "linformer", "bigbird", "nystrom")
ORDER = (*FIRST, *(name for name in PAPER if name not in FIRST))
"""Those that say most come first, since a run may be cut short."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of all parts.

    Args:
        lengths: of the sequences that are compared with float64.
        features: the budget d there.
        many_rows: (sequences, length) with more rows of batch x heads than one fused CUDA call takes; then the same for
            BigBird, whose blocks are rows.
        cores: (batch, length) of the timed cores.
        core_seconds: time for one core at one length.
        steps: task, batch and length of the timed steps, and of the compiled runs that must be equal to the bit.
        repeats: timed steps.
        rows: examples of the true-size task to train on, and of dev and test.
        identity: (batch, longest sequence) of the uncompiled runs that must be equal to the bit.
        busy_steps: steps of the runs whose busy share is read.
    """

    lengths: tuple[int, ...]
    features: int
    many_rows: tuple[tuple[int, int], tuple[int, int]]
    cores: tuple[tuple[int, int], ...]
    core_seconds: float
    steps: tuple[str, int, int]
    repeats: int
    rows: dict[str, int]
    identity: tuple[int, int]
    busy_steps: int


SIZES = {
    "cuda": Sizes(
        lengths=(1, 192, 1000, 1088, 2048),  # 192 and 1088 are 64 mod 128
        features=128,
        many_rows=((33000, 8), (2800, 224)),
        cores=((256, 2048), (64, 4096), (16, 16384)),
        core_seconds=0.6,
        steps=("listops", 256, 2000),
        repeats=15,
        rows={"train": 96000, "dev": 2000, "test": 2000},
        identity=(32, 2000),
        busy_steps=300,
    ),
    "cpu": Sizes(
        lengths=(1, 192),
        features=16,
        many_rows=((40, 8), (3, 224)),
        cores=((2, 64),),
        core_seconds=0.0,
        steps=("listops", 4, 60),
        repeats=2,
        rows={"train": 64, "dev": 16, "test": 16},
        identity=(4, 60),
        busy_steps=4,
    ),
}
