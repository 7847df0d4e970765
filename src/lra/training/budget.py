"""How much a run may compute: FLOPs of a step by formula, and the bounds that end training."""

from __future__ import annotations

from dataclasses import dataclass

from lra.config.settings import TrainSettings
from lra.errors import LraError
from lra.model import Model, forward_flops
from lra.tasks.description import Task
from lra.training.clock import Clock

TRAINING = 3
"""FLOPs of a training step as a multiple of its forward pass: the backward pass takes twice as many."""

PATIENCE = 10
"""Evaluations without a lower dev loss that end a run whose settings give no number of steps."""


def step_flops(model: Model, task: Task, batch: int) -> int:
    """FLOPs of a training step; every sequence counts at its full padded length."""
    return TRAINING * batch * forward_flops(model, task)


def affordable_steps(settings: TrainSettings, model: Model, task: Task) -> int:
    """Steps that a run may take: ``steps``, or as many as its ``flops`` allow if those are fewer.

    Raises:
        LraError: ``flops`` allows no step after the warm-up.
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


@dataclass(frozen=True)
class Bounds:
    """When training ends.

    Args:
        schedule_steps: steps over which the learning rate falls.
        last_step: the number of the last step; smaller than ``schedule_steps`` if the run is cut short.
        set_by: which setting gives ``last_step``: steps, flops or max_steps.
        seconds: the run ends at the first step by which training has taken so many seconds; None for no such bound.
        patience: steps without a lower dev loss that end the run.
    """

    schedule_steps: int
    last_step: int
    set_by: str
    seconds: float | None
    patience: int

    def reached(self, step: int, clock: Clock) -> str | None:
        """The bound that a run has reached after ``step`` steps: the value of ``set_by``, or seconds; else None."""
        if step >= self.last_step:
            return self.set_by
        return "seconds" if self.seconds and step and clock.trained() >= self.seconds else None


def bounds_of(settings: TrainSettings, model: Model, task: Task, max_steps: int | None) -> Bounds:
    """The bounds of a run.

    Args:
        settings: how the model is trained.
        model: decides the FLOPs of a step.
        task: decides the length of a sequence.
        max_steps: a run that is cut short ends after so many steps; None for a full run.

    Raises:
        LraError: ``flops`` allows no step after the warm-up.
    """
    steps = affordable_steps(settings, model, task)
    last_step = min(steps, max_steps or steps)
    return Bounds(
        schedule_steps=steps,
        last_step=last_step,
        set_by="max_steps" if last_step < steps else "flops" if steps < settings.steps else "steps",
        seconds=settings.seconds,
        patience=settings.patience_steps or PATIENCE * settings.evaluate_every,
    )
