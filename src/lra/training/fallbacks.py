"""Ways to go on after a failure: fewer rows at once if memory runs out, the uncompiled model if compiling fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from lra.errors import LraError, device_fault, is_out_of_memory
from lra.training.evaluation import evaluation_rows
from lra.training.optim import random_state, restore_random_state
from lra.training.progress import Failed, Interrupted, Progress

T = TypeVar("T")


def retried(
    work: Callable[[], T],
    progress: Progress,
    device: torch.device,
    fewer_rows: Callable[[], None],
    uncompiled: Callable[[], None],
) -> T:
    """Do the work; repeat it with fewer rows at once if it runs out of memory, and uncompiled if compiling fails.

    Args:
        work: called again after a failure, with the random state of the first call.
        progress: says whether the model is compiled.
        device: where the work runs.
        fewer_rows: reduces the rows that pass through the model at once.
        uncompiled: replaces the compiled model by the model itself.

    Returns:
        The work's result.

    Raises:
        Exception: the work failed for another reason.
    """
    random = random_state(device)
    while True:
        try:
            return work()
        except BaseException as problem:
            restore_random_state(random, device)
            memory = isinstance(problem, Exception) and is_out_of_memory(problem)
            surroundings = isinstance(problem, LraError | OSError | Interrupted | Failed) or device_fault(problem)
            compiling = isinstance(problem, Exception) and progress.compiled and not surroundings
            if not memory and not compiling:
                raise
            reason = " ... ".join(dict.fromkeys(first_and_last_line(problem)))
        # Only after the `except` clause, because the exception holds the tensors of the failed work.
        if memory:
            fewer_rows()
        else:
            uncompiled()
            print(f"the model runs uncompiled, because compiling it failed ({reason})", flush=True)


def first_and_last_line(problem: BaseException) -> list[str]:
    """Of the message, behind the type: torch's compiler puts other messages with their tracebacks into its own."""
    lines = [line.strip() for line in f"{type(problem).__name__}: {problem}".splitlines() if line.strip()]
    return [lines[0], lines[-1]]


def halve_rows(progress: Progress, device: torch.device, *, training: bool) -> None:
    """Halve the rows that pass through the model at once, in training or in an evaluation.

    Raises:
        Failed: the model takes one row at a time already.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if (progress.micro_batch if training else progress.evaluation_batch) == 1:
        raise Failed("oom", "a single example does not fit in memory")
    if training:
        progress.micro_batch //= 2
        progress.evaluation_batch = min(progress.evaluation_batch, evaluation_rows(progress.micro_batch, device))
        print(f"out of memory: micro-batch is now {progress.micro_batch}", flush=True)
    else:
        progress.evaluation_batch //= 2
        print(f"out of memory: the batch of an evaluation is now {progress.evaluation_batch}", flush=True)
