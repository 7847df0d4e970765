"""The rows of ``results/table.csv``, one an attention x task. Accuracies are shares, 0 to 1; None is an empty field."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lra.errors import LraError
from lra.files import write_csv

BASELINE = "softmax"
"""The attention that all others are compared with."""


@dataclass(frozen=True)
class Row:
    """A cell of the arena."""

    scale: str
    """Scale of the runs."""
    task: str
    attention: str
    status: str
    """ok, partial (some seeds failed), or how the runs failed: diverged, oom, failed."""
    reason: str
    """Why runs failed, and which seeds."""
    seeds_ok: int
    """Runs with a result; means are over these."""
    seeds_run: int
    accuracy: float | None = None
    """Mean test accuracy."""
    accuracy_std: float | None = None
    """Its sample standard deviation over seeds."""
    accuracy_low: float | None = None
    """Lower end of the mean's 95 % t-interval over seeds, cut to 0 ... 1."""
    accuracy_high: float | None = None
    majority_accuracy: float | None = None
    """Accuracy of always answering the test split's most frequent class."""
    versus_majority: str | None = None
    """better, worse or undecided, at a family-wise error of 5 % over the task's attentions."""
    difference: float | None = None
    """Accuracy minus that of softmax."""
    adjusted_p: float | None = None
    """Its two-sided p-value, adjusted by Holm's method over the task's attentions."""
    versus_softmax: str | None = None
    """better, worse or undecided, at an adjusted p-value of 0.05."""
    noise: str | None = None
    """What that p-value accounts for: examples, or seeds and examples."""
    test_rows: int | None = None
    train_seconds: float | None = None
    """Mean training time of the runs, which may have shared the machine."""
    steps: float | None = None
    """Mean number of training steps."""
    parameters: int | None = None
    measure_status: str | None = None
    """Of the measurement alone on the machine: ok, or how it failed."""
    measure_reason: str | None = None
    measured_on: str | None = None
    """Processor or GPU, and CPU threads."""
    length: int | None = None
    """Padded length that was measured, the task's own at every scale."""
    batch: int | None = None
    """Examples of a measured step."""
    ms_per_step: float | None = None
    """Median milliseconds of such a training step; the fastest and the slowest follow."""
    ms_low: float | None = None
    ms_high: float | None = None
    seconds_per_1000_steps: float | None = None
    """For 1000 steps of the paper's batch."""
    peak_memory_mib: float | None = None
    """Most that a measured step holds in tensors."""
    memory_per_example_mib: float | None = None
    """What one more example adds to it."""
    fitting_batch: int | None = None
    """Largest piece of the paper's batch that fits in memory; 0 where not one example does."""
    fitting_memory_gib: float | None = None
    """That memory."""
    flops_attention: float | None = None
    """FLOPs of the attentions in one example's forward pass, counted."""
    flops_formula: float | None = None
    """The same by the method's leading term."""
    published_accuracy: float | None = None
    """The paper's, at its scale."""
    published_difference: float | None = None
    """Accuracy minus the paper's."""


COLUMNS = (*(field.name for field in dataclasses.fields(Row)), "checksum")
"""Those of :class:`Row`, and a digest of all rows, the same in each, so that an edit by hand is noticed."""


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Write the table as CSV."""
    lines = [["" if row[name] is None else str(_rounded(row[name])) for name in row] for row in map(vars, rows)]
    write_csv(path, COLUMNS, ([*line, _digest(lines)] for line in lines))


def read_rows(path: Path) -> list[Row]:
    """Read what :func:`write_rows` wrote.

    Raises:
        LraError: it is missing, empty, edited, or not such a table.
    """
    hints = typing.get_type_hints(Row)
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            table = csv.DictReader(stream)
            if missing := set(COLUMNS) - set(table.fieldnames or ()):
                raise ValueError(f"no column {sorted(missing)[0]}")
            lines = [[line[name] for name in COLUMNS] for line in table]
            rows = [
                Row(**{name: _value(hints[name], text) for name, text in zip(COLUMNS[:-1], line, strict=False)})
                for line in lines
            ]
    except FileNotFoundError:
        raise LraError(f"{path} is not there; make it with `lra collect`.") from None
    except (OSError, ValueError, csv.Error) as problem:
        raise LraError(f"{path} cannot be read ({problem}); make it again with `lra collect`.") from problem
    if not rows:
        raise LraError(f"{path} has no rows; make it again with `lra collect`.")
    digest = _digest([line[:-1] for line in lines])
    for number, line in enumerate(lines, start=2):
        if line[-1] != digest:
            raise LraError(
                f"{path} was edited (line {number} is not what `lra collect` wrote); make it again with that."
            )
    return rows


def _digest(lines: Sequence[Sequence[str | None]]) -> str:
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:16]


def _rounded(value: object) -> object:
    return f"{value:.10g}" if isinstance(value, float) else value


def _value(hint: Any, text: str | None) -> Any:
    if text is None:
        raise ValueError("a line is cut short")
    if hint in (str, int):
        return hint(text)
    if text == "":
        return None
    kind = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    return kind(text)


def tasks(rows: Sequence[Row]) -> list[str]:
    """The tasks in order."""
    return list(dict.fromkeys(row.task for row in rows))


def attentions(rows: Sequence[Row]) -> list[str]:
    """The attentions in order."""
    return list(dict.fromkeys(row.attention for row in rows))
