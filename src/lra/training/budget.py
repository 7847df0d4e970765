"""How much a run may compute: FLOPs of a step by formula, and the steps that a bound in FLOPs allows."""

from __future__ import annotations

from lra.config.settings import TrainSettings
from lra.errors import LraError
from lra.model import Model, forward_flops
from lra.tasks.description import Task

TRAINING = 3
"""A training step takes a forward pass and a backward pass of twice its FLOPs."""


def step_flops(model: Model, task: Task, batch: int) -> int:
    """FLOPs of a training step, every sequence counted at its full padded length."""
    return TRAINING * batch * forward_flops(model, task)


def affordable_steps(settings: TrainSettings, model: Model, task: Task) -> int:
    """Steps that a run may take: ``steps``, or as many as its ``flops`` allow if those are fewer.

    Raises:
        LraError: they allow no more than the warm-up.
    """
    if settings.flops is None:
        return settings.steps
    steps = min(settings.steps, int(settings.flops // (one := step_flops(model, task, settings.batch))))
    if steps <= settings.warmup:
        raise LraError(
            f"train.flops: {settings.flops:.3g} allow {steps} steps of {one:.3g} FLOPs, and the warm-up alone has "
            f"{settings.warmup}; allow more or shorten `warmup`."
        )
    return steps
