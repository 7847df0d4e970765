"""Sentences on the measurements of a task: the attentions with the least time and memory, with confidence intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lra.results.basis import bases
from lra.results.published import task_title, title
from lra.results.rows import BASELINE, YARDSTICK, TableRow

WORKSPACE_SHARE = 0.1
"""A workspace is mentioned if it is larger than this share of the memory of one more example."""


def cost_sentence(rows: Sequence[TableRow]) -> str:
    """A sentence on a task's time and memory; empty if nothing was measured.

    Args:
        rows: the task's rows, one per attention.
    """
    machines = list(dict.fromkeys(row.measured_on for row in rows if row.measured_on))
    if len(machines) > 1:
        listed = "; ".join(machines)
        return f"{task_title(rows[0].task)}: measured on different machines ({listed}), so times are not comparable."
    measured = [row for row in rows if None not in (row.seconds_per_1000_steps, row.memory_per_example_mib)]
    if not measured:
        return ""
    cost = bases(rows)[0].cost
    name = task_title(rows[0].task) + (f" ({cost})" if cost else "")
    return f"{name}: {_time(measured)}; {_memory(measured)}."


def _time(rows: Sequence[TableRow]) -> str:
    """The fastest attention relative to exact attention, ties with it, and how many are faster than exact attention."""
    timed = [row for row in rows if None not in (row.time_ratio, row.time_ratio_low, row.time_ratio_high)]
    if not timed:
        fastest = min(rows, key=lambda row: row.seconds_per_1000_steps or 0.0)
        return f"{title(fastest.attention)} takes the least time"
    fastest = min(timed, key=lambda row: row.time_ratio or 0.0)
    sentence = f"{title(fastest.attention)} takes the least time"
    if fastest.attention != YARDSTICK:
        sentence += f", {_interval(fastest)} times that of exact attention without dropout (95\u00a0% interval)"
    tied = [row for row in timed if row is not fastest and _ends(row)[0] <= _ends(fastest)[1]]
    if tied:
        sentence += f", and {_listed(tied)} cannot be distinguished from it"
    others = [row for row in timed if row.attention not in (YARDSTICK, BASELINE)]
    faster = sum(_ends(row)[1] < 1 for row in others)
    undecided = sum(_ends(row)[0] <= 1 <= _ends(row)[1] for row in others)
    sentence += f"; {faster} of {len(others)} approximations are faster than exact attention without dropout"
    sentence += f", {undecided} cannot be distinguished from it" if undecided else ""
    unknown = len(rows) - len(timed)
    return sentence + (f"; too few steps were timed to compare {unknown} more rows" if unknown else "")


def _ends(row: TableRow) -> tuple[float, float]:
    return row.time_ratio_low or 0.0, row.time_ratio_high or 0.0


def _interval(row: TableRow) -> str:
    low, high = _ends(row)
    return f"{row.time_ratio:.2f} ({low:.2f} to {high:.2f})"


def _memory(rows: Sequence[TableRow]) -> str:
    """The attentions with the least memory per further example, and those with the least memory in a whole step."""
    growing = _least(rows, lambda row: row.memory_per_example_mib or 0.0)
    least = growing[0].memory_per_example_mib or 0.0
    verb = "takes" if len(growing) == 1 else "take"
    sentence = f"{_listed(growing)} {verb} the least memory per further example ({least:.1f}\u00a0MiB)"
    spaces = [row for row in growing if (row.workspace_mib or 0.0) > WORKSPACE_SHARE * least]
    if spaces:
        named = ", ".join(f"{title(row.attention)} {row.workspace_mib:.1f}\u00a0MiB" for row in spaces)
        sentence += f", plus a workspace that does not grow with the batch ({named})"
    with_peak = [row for row in rows if row.peak_memory_mib is not None]
    if with_peak:
        holding = _least(with_peak, lambda row: row.peak_memory_mib or 0.0)
        batch = holding[0].cost_batch
        step = f"a step of {batch} example{'' if batch == 1 else 's'}" if batch else "a step"
        verb = "holds" if len(holding) == 1 else "hold"
        sentence += f"; in {step} {_listed(holding)} {verb} the least ({holding[0].peak_memory_mib:.1f}\u00a0MiB)"
    return sentence


def _least(rows: Sequence[TableRow], quantity: Callable[[TableRow], float]) -> list[TableRow]:
    """The rows with the lowest quantity, rounded as it is shown."""
    least = min(f"{quantity(row):10.1f}" for row in rows)
    return [row for row in rows if f"{quantity(row):10.1f}" == least]


def _listed(rows: Sequence[TableRow]) -> str:
    *others, last = (title(row.attention) for row in rows)
    return f"{', '.join(others)} and {last}" if others else last
