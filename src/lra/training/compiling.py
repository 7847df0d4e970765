"""A model as torch.compile makes it: one graph without breaks, and one cache for all runs.

Which graph a batch meets follows from its shape and the mode (training or evaluation), never from the batches that came
before: a run that goes on from a checkpoint computes what an undisturbed one does. So torch may not decide by itself
which sizes vary, and a model is warmed up with the same batches whatever comes next (:func:`warm_up_shapes`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lra.config.settings import TrainSettings
from lra.data.batches import Batch
from lra.model import Model, of_one_length

Forward = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]

CACHE = "TORCHINDUCTOR_CACHE_DIR"
"""Environment variable: where torch keeps what it compiled."""
RECOMPILATIONS = 32
"""Graphs of a model at most; one more, and it runs uncompiled."""


def compiles(settings: TrainSettings, device: torch.device) -> bool:
    """Whether a model is to be compiled: ``auto`` does on a GPU."""
    return device.type == "cuda" if settings.compile == "auto" else settings.compile


def compiled(model: Model, *, rows_vary: bool, lengths_vary: bool) -> Forward:
    """A model's forward pass, compiled when it is called; whatever goes wrong is raised there.

    Args:
        model: what is compiled.
        rows_vary: training batches have several numbers of rows, as those of an evaluation always have.
        lengths_vary: batches have several lengths.
    """
    share_cache()
    torch._dynamo.reset()  # graphs of sizes that are no more
    torch._dynamo.config.recompile_limit = RECOMPILATIONS
    # Kernels are then not chosen by timing them where that decides how they round.
    options: Any = {"deterministic": True} if "deterministic" in torch._inductor.list_options() else None

    def mode(rows_vary: bool) -> Forward:
        forward = torch.compile(model, fullgraph=True, dynamic=rows_vary or lengths_vary, options=options)

        def call(tokens: Sequence[Tensor], mask: Sequence[Tensor]) -> Tensor:
            tokens, mask = of_one_length(tokens), of_one_length(mask)
            for tensor in (*tokens, *mask):
                for dimension, varies in enumerate((rows_vary, lengths_vary)):
                    if not varies:
                        torch._dynamo.mark_static(tensor, dimension)
            return forward(tokens, mask)

        return call

    training, evaluation = mode(rows_vary), mode(True)
    return lambda tokens, mask: (training if model.training else evaluation)(tokens, mask)


def warm_up_lengths(longest: int, lengths_vary: bool) -> list[int]:
    """Lengths of the first batches, at which torch makes its graphs.

    Where lengths vary the longest has often a graph of its own, and another stands for all others.
    """
    other = longest // 2 + 64
    return [longest, other] if lengths_vary and other < longest else [longest]


def empty_batch(towers: int, rows: int, length: int) -> Batch:
    """A batch of zero tokens, all of them real, to make a graph with."""
    tokens = torch.zeros(rows, length, dtype=torch.int32)
    return Batch((tokens,) * towers, (tokens == 0,) * towers, torch.zeros(rows, dtype=torch.int64))


def share_cache() -> None:
    """Keep compiled code in the user's cache folder, where all runs find it, unless the variable says where.

    Torch writes each file under another name and renames it, so that several processes may use the folder at once.
    Where there can be no such folder, torch's own for temporary files stays.
    """
    if CACHE in os.environ:
        return
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "lra", f"torch-{torch.__version__}")
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # a full or read-only disk, or no home
        return
    if os.access(folder, os.W_OK):
        os.environ[CACHE] = str(folder)
