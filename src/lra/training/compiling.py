"""Compiling a model with torch.compile: one graph without breaks, and one cache for all runs.

The shape of a batch and the mode (training or evaluation) decide which graph computes it; the batches before it do not.
So a run that resumes from a checkpoint computes the same numbers as an undisturbed one. For this, torch must not decide
by itself which sizes vary, and every model is warmed up with the same batches (:func:`warm_up_lengths`).
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
"""Environment variable with the folder of torch's compiled code."""
RECOMPILATIONS = 32
"""Most graphs of a model; a model that needs more runs uncompiled."""


def compiles(settings: TrainSettings, device: torch.device) -> bool:
    """Whether to compile a model; ``auto`` compiles on a GPU."""
    return device.type == "cuda" if settings.compile == "auto" else settings.compile


def compiled(model: Model, *, rows_vary: bool, lengths_vary: bool) -> Forward:
    """The forward pass of a model, which is compiled when it is called; errors of compiling are raised then.

    Args:
        model: the model.
        rows_vary: whether the number of rows varies among training batches; among those of evaluations it always does.
        lengths_vary: whether the length varies among batches.
    """
    share_cache()
    torch._dynamo.reset()  # drops the graphs of earlier sizes
    torch._dynamo.config.recompile_limit = RECOMPILATIONS
    # With this option torch does not choose kernels by timing them if they round differently.
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
    """Lengths of the first batches, for which torch makes its graphs.

    If lengths vary, the longest often needs a graph of its own, and one more length gives the graph of all others.
    """
    other = longest // 2 + 64
    return [longest, other] if lengths_vary and other < longest else [longest]


def empty_batch(towers: int, rows: int, length: int) -> Batch:
    """A batch of real tokens with id 0, for which torch makes a graph."""
    tokens = torch.zeros(rows, length, dtype=torch.int32)
    return Batch((tokens,) * towers, (tokens == 0,) * towers, torch.zeros(rows, dtype=torch.int64))


def share_cache() -> None:
    """Keep compiled code in the user's cache folder, for all runs, unless the environment variable names a folder.

    Torch writes each file under a temporary name and renames it, so several processes can use the folder at once. If
    the folder cannot be made, torch keeps its own folder of temporary files.
    """
    if CACHE in os.environ:
        return
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "lra", f"torch-{torch.__version__}")
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # the disk is full or read-only, or there is no home folder
        return
    if os.access(folder, os.W_OK):
        os.environ[CACHE] = str(folder)
