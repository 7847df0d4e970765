"""Rows of ``results/table.csv``, one per attention and task. Accuracies are between 0 and 1; None is an empty field."""

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
"""Baseline of accuracy: exact attention with dropout, as in the paper."""
YARDSTICK = "softmax_nodropout"
"""Baseline of time, memory and FLOPs: exact attention without the cost of dropout."""


@dataclass(frozen=True)
class TableRow:
    """A cell of the arena: an attention on a task."""

    scale: str
    """Scale of the runs."""
    task: str
    attention: str
    status: str
    """ok, partial (some seeds failed), or how all runs failed: diverged, oom (out of memory), failed."""
    reason: str
    """Seeds and reasons of failed runs."""
    seeds_ok: int
    """Number of runs with a result; means are over these runs unless stated otherwise."""
    seeds_run: int
    """Number of runs, failed ones included."""
    data_source: str | None = None
    """Source of the task's data, as config.yaml names it."""
    max_length: int | None = None
    """Maximum number of tokens of a sequence in training and test."""
    train_rows: int | None = None
    test_rows: int | None = None
    train_features: int | None = None
    """Number of features of the trained attention."""
    train_precision: str | None = None
    """Precision of training: fp32, bf16 or fp16."""
    learning_rate: float | None = None
    """Peak learning rate of the runs."""
    tuned: int | None = None
    """Number of learning rates tried in short runs to choose this one by dev accuracy; empty without tuning."""
    tuning_seconds: float | None = None
    """Total training time of these short runs, in seconds."""
    accuracy: float | None = None
    """Mean test accuracy."""
    accuracy_std: float | None = None
    """Sample standard deviation of the accuracy over seeds."""
    accuracy_low: float | None = None
    """Lower end of the mean's 95 % interval over seeds and test examples; with one seed, over test examples only."""
    accuracy_high: float | None = None
    accuracy_with_failures: float | None = None
    """Mean over all runs; a failed run counts with ``majority_accuracy``."""
    among_best: str | None = None
    """yes or no: whether the accuracy is not distinguishable from the task's highest; empty below three seeds."""
    majority_accuracy: float | None = None
    """Accuracy of always predicting the test split's most frequent class."""
    versus_majority: str | None = None
    """better, worse or undecided, at a family-wise error of 5 % over the task's attentions; empty below three seeds."""
    difference: float | None = None
    """Accuracy minus that of softmax."""
    difference_low: float | None = None
    """Lower end of the difference's 95 % interval, which accounts for ``noise``."""
    difference_high: float | None = None
    adjusted_p: float | None = None
    """Two-sided p-value of the difference, Holm-adjusted over the task's attentions; empty below three seeds."""
    adjusted_p_all_tasks: float | None = None
    """The p-value, Holm-adjusted over the attentions of all tasks."""
    versus_softmax: str | None = None
    """better, worse or undecided, at an ``adjusted_p`` of 0.05; empty below three seeds."""
    noise: str | None = None
    """Noise in interval and p-value: examples, seeds and examples, or pooled seeds and examples."""
    train_seconds: float | None = None
    """Mean training time of the runs in seconds; they may have shared the machine."""
    steps: float | None = None
    """Mean number of training steps."""
    pretrained: float | None = None
    """Mean number of pretraining steps; empty for runs from random weights."""
    pretrain_seconds: float | None = None
    """Mean training time of the pretraining in seconds, which ``train_seconds`` leaves out."""
    parameters: int | None = None
    """Number of parameters of the whole model."""
    measure_status: str | None = None
    """Status of the measurement alone on the machine: ok, or how it failed."""
    measure_reason: str | None = None
    measured_on: str | None = None
    """Processor or GPU, and CPU threads."""
    cost_length: int | None = None
    """Padded length of the measured sequences: the task's full length at every scale."""
    cost_features: int | None = None
    """Number of features of the measured attention."""
    cost_precision: str | None = None
    """Precision of the measured steps: fp32, bf16 or fp16."""
    cost_batch: int | None = None
    """Number of examples in a measured step."""
    ms_per_step: float | None = None
    """Milliseconds of a measured training step: the median, then the fastest and the slowest."""
    ms_low: float | None = None
    ms_high: float | None = None
    seconds_per_1000_steps: float | None = None
    """Seconds for 1000 training steps with the paper's batch."""
    extrapolated: str | None = None
    """yes if these seconds are extrapolated from steps with fewer examples, else no."""
    time_ratio: float | None = None
    """Time of a step relative to exact attention without dropout, both timed alternately in one process."""
    time_ratio_low: float | None = None
    """Lower end of the ratio's 95 % confidence interval."""
    time_ratio_high: float | None = None
    real_time_ratio: float | None = None
    """The ratio for the task's real lengths: padded in buckets, relative to exact attention on the real tokens only."""
    real_time_ratio_low: float | None = None
    real_time_ratio_high: float | None = None
    peak_memory_mib: float | None = None
    """Peak memory of the tensors in a measured step."""
    memory_per_example_mib: float | None = None
    """Memory that one more example adds to the peak."""
    workspace_mib: float | None = None
    """Peak memory beyond weights, optimiser state and examples; it does not grow with the batch."""
    fitting_batch: int | None = None
    """Largest part of the paper's batch that fits in memory; 0 if not even one example fits."""
    fitting_memory_gib: float | None = None
    """Size of this memory."""
    flops_attention: float | None = None
    """Counted FLOPs of the attentions in the forward pass of one example."""
    flops_formula: float | None = None
    """FLOPs by the leading term of the method's formula."""
    published_accuracy: float | None = None
    """Accuracy published under the paper's protocol; this field and those below are empty at every scale but paper."""
    published_difference: float | None = None
    """Accuracy minus the published one."""
    published_source: str | None = None
    """Source of the published accuracy; on pathx with the published value."""
    published_differs: str | None = None
    """Differences between the runs' protocol and the paper's."""
    published_compatible: str | None = None
    """yes, no or too few seeds: whether the published accuracy lies in the 95 % prediction interval around ours."""
    reference_accuracy: float | None = None
    """Mean accuracy of the runs in reference/."""
    reference_low: float | None = None
    """Lower end of this mean's 95 % interval over seeds and test examples."""
    reference_high: float | None = None
    reference_seeds: int | None = None
    reference_test_rows: int | None = None
    reference_differs: str | None = None
    """Differences between the runs and the reference runs: data, code, settings."""
    reference_compatible: str | None = None
    """yes, no or too few seeds: whether the two means agree within a 95 % prediction interval."""


COLUMNS = (*(field.name for field in dataclasses.fields(TableRow)), SEAL)
"""Columns of the CSV file: the fields of :class:`TableRow`, then a digest of all rows, which reveals edits by hand."""


def write_rows(rows: Iterable[TableRow], path: Path) -> None:
    """Write the table as CSV."""
    lines = [["" if row[name] is None else str(_rounded(row[name])) for name in row] for row in map(vars, rows)]
    write_sealed_csv(path, COLUMNS[:-1], lines)


def read_rows(path: Path) -> list[TableRow]:
    """Read a table that :func:`write_rows` wrote.

    Raises:
        LraError: the file is missing, empty, edited, or not such a table.
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
                f"{path} was edited (line {number} is not as `lra collect` wrote it); make it again with `lra collect`."
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
    value_type = next(option for option in typing.get_args(hint) if option is not type(None))
    return value_type(text)


def tasks(rows: Sequence[TableRow]) -> list[str]:
    """Names of the tasks, in the order of the rows."""
    return list(dict.fromkeys(row.task for row in rows))


def attentions(rows: Sequence[TableRow]) -> list[str]:
    """Names of the attentions, in the order of the rows."""
    return list(dict.fromkeys(row.attention for row in rows))
