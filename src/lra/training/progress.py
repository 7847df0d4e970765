"""The progress of a run, and the two exceptions that end it early."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from lra.training.clock import PARTS, busy


class Interrupted(Exception):
    """A signal stopped the run; the trainer saves a checkpoint."""


class Failed(Exception):
    """The run cannot give a result; ``status`` is ``diverged`` or ``oom``."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def refuse_divergence(step: int, train_loss: float, dev_loss: float, classes: int) -> None:
    """Stop a run that has diverged.

    Raises:
        Failed: the dev loss is not finite, or the training loss is more than ten times that of chance, ln(classes).
    """
    if not math.isfinite(dev_loss):
        raise Failed("diverged", f"the dev loss was not finite at step {step}")
    if train_loss > 10 * math.log(classes):
        raise Failed("diverged", f"the training loss was {train_loss:.1f} at step {step}, ten times chance")


@dataclass
class Progress:
    """The progress of a run, which a checkpoint holds beside model, optimiser and random states."""

    step: int = 0
    """Updates of the weights."""
    skipped: int = 0
    """Batches whose update the loss scaler of fp16 skipped."""
    times: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    """Seconds by part; see :mod:`lra.training.clock`."""
    history: list[dict[str, float]] = field(default_factory=list)
    """A row for each evaluation on dev."""
    micro_batch: int = 0
    """Rows that pass through the model at once in training."""
    evaluation_batch: int = 0
    """Rows that pass through the model at once in an evaluation."""
    compiled: bool = False
    """Whether the model runs compiled; False after compiling failed."""
    ended_by: str | None = None
    """What ended training: steps, flops, max_steps, seconds or patience."""

    @property
    def best(self) -> dict[str, float]:
        """The evaluation with the highest dev accuracy; among equals, the one with the lowest dev loss."""
        return max(self.history, key=lambda row: (row["dev_accuracy"], -row["dev_loss"]))

    def record(self, learning_rate: float, train_loss: float, dev_loss: float, dev_accuracy: float) -> None:
        """Add an evaluation on dev to the history, and print it."""
        seconds = self.times["train"]
        self.history.append(
            {
                "step": self.step,
                "seconds": seconds,
                "learning_rate": learning_rate,
                "train_loss": train_loss,
                "dev_loss": dev_loss,
                "dev_accuracy": dev_accuracy,
            }
        )
        print(
            f"step {self.step}: train loss {train_loss:.4f}, dev loss {dev_loss:.4f}, "
            f"dev accuracy {dev_accuracy:.4f}, {seconds:.1f} s",
            flush=True,
        )

    def stale_steps(self) -> int:
        """Steps from the evaluation with the lowest dev loss to the last evaluation."""
        if not self.history:
            return 0
        return int(self.history[-1]["step"] - min(self.history, key=lambda row: row["dev_loss"])["step"])

    def measurements(self) -> dict[str, Any]:
        """The keys of ``metrics.json`` about steps and times."""
        return {
            "steps": self.step,
            "skipped_steps": self.skipped,
            "ended_by": self.ended_by,
            "compiled": self.compiled,
            **{f"{part}_seconds": self.times[part] for part in PARTS if part != "loop"},
            "busy": busy(self.times),
        }
