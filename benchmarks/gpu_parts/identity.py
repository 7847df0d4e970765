"""Whether a run repeats to the bit: the same run twice, and one that is killed and goes on from its last checkpoint.

Strict determinism, bfloat16, the paper's model; 6 steps with evaluations on the way. Compared are the optimiser's state
after the last step, which every gradient went into, the history, the weights and the predictions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from gpu_parts.record import Record, Result
from gpu_parts.sizes import Sizes
from gpu_parts.trainers import refuse_other_rows, shards_of, trainer
from gpu_parts.turns import Turns
from lra.data.batches import Batch
from lra.data.shards import Shards
from lra.devices import make_deterministic
from lra.training.evaluation import Score
from lra.training.trainer import Trainer

STEPS, EVALUATE_EVERY, KILLED_AT = 6, 3, 5


class Killed(BaseException):
    """What stands in for SIGKILL: nothing is saved on the way out."""


def run(record: Record, sizes: Sizes, attentions: tuple[str, ...], device: torch.device, turns: Turns) -> None:
    """As methods run uncompiled."""
    check(record, *sizes.identity, attentions, device, compiling=False)


def run_compiled(record: Record, sizes: Sizes, attentions: tuple[str, ...], device: torch.device, turns: Turns) -> None:
    """As methods run compiled, with the seconds that compiling takes; on a CPU nothing, since that takes minutes.

    The batch is that of the part ``steps``, which then finds the compiled code in the cache.
    """
    if device.type == "cuda":
        _, batch, longest = sizes.steps
        check(record, batch, longest, attentions, device, compiling=True)


def check(
    record: Record, batch: int, longest: int, attentions: tuple[str, ...], device: torch.device, compiling: bool
) -> None:
    """Every method on the same rows."""
    make_deterministic()
    with tempfile.TemporaryDirectory() as folder:
        shards = shards_of("listops", longest, 2 * batch, Path(folder, "data"))
        for name in attentions:
            what = {"attention": name, "compiled": compiling}
            settings = {"batch": batch, "compile": compiling}
            record.attempt(what, lambda name=name, given=settings: repeats(name, given, shards, device))


def repeats(name: str, settings: dict[str, object], shards: Shards, device: torch.device) -> Result:
    """Whether a second run and a killed one that went on end like the first."""
    given = settings | {"steps": STEPS, "evaluate_every": EVALUATE_EVERY}
    with tempfile.TemporaryDirectory() as folder:
        first = trainer(shards, name, device, Path(folder, "first"), **given)
        expected = list(state_of(first, first.run()))
        second = trainer(shards, name, device, Path(folder, "second"), **given)
        same = alike(expected, list(state_of(second, second.run())))
        rows = second.progress.micro_batch
        del second
        killed = trainer(shards, name, device, Path(folder, "killed"), **given)
        kill(killed)
        resumed = trainer(shards, name, device, Path(folder, "killed"), **given)
        after_a_kill = alike(expected, list(state_of(resumed, resumed.run())))
    refuse_other_rows(first.progress.micro_batch, rows, resumed.progress.micro_batch)
    fell_back = bool(settings["compile"]) and not first.progress.compiled
    return {
        "ok": same and after_a_kill,
        "twice": same,
        "killed": after_a_kill,
        "fell_back_to_eager": fell_back,
        "compile_seconds": first.progress.times["compile"],
        "micro_batch": first.progress.micro_batch,
    }


def kill(run: Trainer) -> None:
    """Train with a checkpoint after every step, and end in the middle."""
    run.checkpoint_seconds = -1
    step = run.step

    def dying(batch: Batch) -> None:
        step(batch)
        if run.progress.step == KILLED_AT:
            raise Killed

    run.step = dying  # type: ignore[method-assign]
    try:
        run.run()
    except Killed:
        return
    raise AssertionError("the run was not killed")


def state_of(run: Trainer, score: Score) -> Iterator[Tensor]:
    """What must be equal."""
    for state in run.optimizer.state_dict()["state"].values():
        yield from (value.detach().cpu() for value in state.values())
    yield from run.best_weights.values()
    losses = [[row["train_loss"], row["dev_loss"]] for row in run.progress.history]
    yield torch.tensor([*losses, [score.loss, score.accuracy]], dtype=torch.float64)
    yield torch.from_numpy(score.prediction.copy())


def alike(some: list[Tensor], others: list[Tensor]) -> bool:
    """Whether all are equal to the bit."""
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))
