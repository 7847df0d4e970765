"""The batch sizes and learning rates of the sweep, from the block ``sweep`` of a scale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lra.attention.registry import ALIASES, names
from lra.config.mapping import from_mapping
from lra.errors import LraError, nearest


@dataclass(frozen=True)
class Sweep:
    """One attention on one task, trained with each batch size at each learning rate (the paper's figure 3)."""

    attention: str
    task: str
    batch: tuple[int, ...]
    learning_rate: tuple[float, ...]

    def cells(self) -> dict[str, tuple[int, float]]:
        """Each pair of a batch size and a learning rate, by the name of its folder."""
        return {f"batch-{batch}_rate-{rate}": (batch, rate) for batch in self.batch for rate in self.learning_rate}


def resolve_sweep(
    given: Mapping[str, Any] | None,
    run: Iterable[str],
    tasks: Iterable[str],
    attentions: Iterable[str],
    where: str,
) -> Sweep | None:
    """The sweep of a scale; None if there is no block, or if its task or its attention is not run.

    Args:
        given: the block.
        run: names of the tasks that are run.
        tasks: names of the tasks that have settings.
        attentions: names of the attentions that are run.
        where: the key of the block in config.yaml; a message starts with it.

    Raises:
        LraError: the task or the attention is unknown.
    """
    if given is None:
        return None
    sweep = from_mapping(Sweep, {**given, "attention": ALIASES.get(given["attention"], given["attention"])}, where)
    known = [*attentions, *names(), *ALIASES]
    if sweep.attention not in known:
        raise LraError(f"{where}.attention: unknown attention {sweep.attention!r}.{nearest(sweep.attention, known)}")
    if sweep.task not in tasks:
        raise LraError(f"{where}.task: unknown task {sweep.task!r}.{nearest(sweep.task, tasks)}")
    return sweep if sweep.task in run and sweep.attention in attentions else None
