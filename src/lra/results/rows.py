"""The rows of ``results/table.csv``, one an attention x task. Accuracies are shares, 0 to 1; None is an empty field."""

from __future__ import annotations

import csv
import dataclasses
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lra.errors import LraError
from lra.sealing import SEAL, digest, write_sealed_csv

BASELINE = "softmax"
"""The attention whose accuracy all others are compared with: exact, trained with dropout, as in the paper."""
YARDSTICK = "softmax_nodropout"
"""The attention whose time, memory and FLOPs all others are compared with: exact, without the cost of dropout."""


@dataclass(frozen=True)
class TableRow:
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
    """Runs with a result; means are over these unless they say otherwise."""
    seeds_run: int
    data_source: str | None = None
    """Where the task's data comes from, as config.yaml names it."""
    max_length: int | None = None
    """The most tokens of a sequence that the runs were trained and tested on."""
    train_rows: int | None = None
    test_rows: int | None = None
    train_features: int | None = None
    """Features of the attention in the runs, and in the next column the precision they were trained in."""
    train_precision: str | None = None
    learning_rate: float | None = None
    """Peak learning rate of the runs."""
    tuned: int | None = None
    """Learning rates that short runs tried to choose this one by dev accuracy; empty where it was not tuned."""
    tuning_seconds: float | None = None
    """Training time of these short runs together."""
    accuracy: float | None = None
    """Mean test accuracy."""
    accuracy_std: float | None = None
    """Its sample standard deviation over seeds."""
    accuracy_low: float | None = None
    """Lower end of the mean's 95 % interval over seeds and test examples, over examples alone with one seed."""
    accuracy_high: float | None = None
    accuracy_with_failures: float | None = None
    """Mean over all runs, a failed one counted at the majority's accuracy."""
    among_best: str | None = None
    """yes: not distinguishable from the task's highest mean; no; empty below three seeds."""
    majority_accuracy: float | None = None
    """Accuracy of always answering the test split's most frequent class."""
    versus_majority: str | None = None
    """better, worse or undecided, at a family-wise error of 5 % over the task's attentions; empty below three seeds."""
    difference: float | None = None
    """Accuracy minus that of softmax."""
    difference_low: float | None = None
    """Lower end of the difference's 95 % interval over what ``noise`` names."""
    difference_high: float | None = None
    adjusted_p: float | None = None
    """Its two-sided p-value, adjusted by Holm's method over the task's attentions; empty below three seeds."""
    adjusted_p_all_tasks: float | None = None
    """The same, adjusted over the attentions of all tasks."""
    versus_softmax: str | None = None
    """better, worse or undecided, at an ``adjusted_p`` of 0.05; empty below three seeds."""
    noise: str | None = None
    """What interval and p-value account for: examples, seeds and examples, or pooled seeds and examples."""
    train_seconds: float | None = None
    """Mean training time of the runs, which may have shared the machine."""
    steps: float | None = None
    """Mean number of training steps."""
    pretrained: float | None = None
    """Mean number of steps of the pretraining that the runs started from, and in the next column its mean training
    time, which ``train_seconds`` leaves out; empty for runs from random weights."""
    pretrain_seconds: float | None = None
    parameters: int | None = None
    measure_status: str | None = None
    """Of the measurement alone on the machine: ok, or how it failed."""
    measure_reason: str | None = None
    measured_on: str | None = None
    """Processor or GPU, and CPU threads."""
    cost_length: int | None = None
    """Padded length that was measured, the task's own at every scale."""
    cost_features: int | None = None
    """Features of the attention that was measured."""
    cost_precision: str | None = None
    """Precision of the measured steps: fp32, bf16 or fp16."""
    cost_batch: int | None = None
    """Examples of a measured step."""
    ms_per_step: float | None = None
    """Median milliseconds of such a training step; the fastest and the slowest follow."""
    ms_low: float | None = None
    ms_high: float | None = None
    seconds_per_1000_steps: float | None = None
    """For 1000 steps of the paper's batch."""
    extrapolated: str | None = None
    """yes where those seconds are multiplied up from steps of fewer examples, else no."""
    time_ratio: float | None = None
    """Time of such a step as a multiple of exact attention's without dropout, timed in turn in one process."""
    time_ratio_low: float | None = None
    """Lower end of its 95 % confidence interval."""
    time_ratio_high: float | None = None
    real_time_ratio: float | None = None
    """The same for the task's own lengths: padded in buckets, against exact attention over the real tokens only."""
    real_time_ratio_low: float | None = None
    real_time_ratio_high: float | None = None
    peak_memory_mib: float | None = None
    """Most that a measured step holds in tensors."""
    memory_per_example_mib: float | None = None
    """What one more example adds to it."""
    workspace_mib: float | None = None
    """What such a step holds besides weights, the optimiser's state and examples: it does not grow with the batch."""
    fitting_batch: int | None = None
    """Largest piece of the paper's batch that fits in memory; 0 where not one example does."""
    fitting_memory_gib: float | None = None
    """That memory."""
    flops_attention: float | None = None
    """FLOPs of the attentions in one example's forward pass, counted."""
    flops_formula: float | None = None
    """The same by the method's leading term."""
    published_accuracy: float | None = None
    """The one that was published under the paper's protocol; it and the fields below are empty at other scales."""
    published_difference: float | None = None
    """Accuracy minus the paper's."""
    published_source: str | None = None
    """Where it was published, and what was published where that is no number."""
    published_differs: str | None = None
    """What of the runs' protocol is not the paper's."""
    published_compatible: str | None = None
    """yes, no or too few seeds: whether it lies in the 95 % prediction interval around ours."""
    reference_accuracy: float | None = None
    """Mean of the runs in reference/."""
    reference_low: float | None = None
    """Lower end of its 95 % interval over seeds and test examples."""
    reference_high: float | None = None
    reference_seeds: int | None = None
    reference_test_rows: int | None = None
    reference_differs: str | None = None
    """What of the runs is not the reference runs': data, code, settings."""
    reference_compatible: str | None = None
    """yes, no or too few seeds: whether one lies in the prediction interval around the other."""


COLUMNS = (*(field.name for field in dataclasses.fields(TableRow)), SEAL)
"""Those of :class:`TableRow`, and a digest of all rows, the same in each, so that an edit by hand is noticed."""


def write_rows(rows: Iterable[TableRow], path: Path) -> None:
    """Write the table as CSV."""
    lines = [["" if row[name] is None else str(_rounded(row[name])) for name in row] for row in map(vars, rows)]
    write_sealed_csv(path, COLUMNS[:-1], lines)


def read_rows(path: Path) -> list[TableRow]:
    """Read what :func:`write_rows` wrote.

    Raises:
        LraError: it is missing, empty, edited, or not such a table.
    """
    hints = typing.get_type_hints(TableRow)
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            table = csv.DictReader(stream)
            if missing := set(COLUMNS) - set(table.fieldnames or ()):
                raise ValueError(f"no column {sorted(missing)[0]}")
            lines = [[line[name] for name in COLUMNS] for line in table]
            rows = [
                TableRow(**{name: _value(hints[name], text) for name, text in zip(COLUMNS[:-1], line, strict=False)})
                for line in lines
            ]
    except FileNotFoundError:
        raise LraError(f"{path} is not there; make it with `lra collect`.") from None
    except (OSError, ValueError, csv.Error) as problem:
        raise LraError(f"{path} cannot be read ({problem}); make it again with `lra collect`.") from problem
    if not rows:
        raise LraError(f"{path} has no rows; make it again with `lra collect`.")
    seal = digest([line[:-1] for line in lines])
    for number, line in enumerate(lines, start=2):
        if line[-1] != seal:
            raise LraError(
                f"{path} was edited (line {number} is not what `lra collect` wrote); make it again with that."
            )
    return rows


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


def tasks(rows: Sequence[TableRow]) -> list[str]:
    """The tasks in order."""
    return list(dict.fromkeys(row.task for row in rows))


def attentions(rows: Sequence[TableRow]) -> list[str]:
    """The attentions in order."""
    return list(dict.fromkeys(row.attention for row in rows))
