"""Collect the metrics and predictions of runs into a table with one row per attention and task.

    lra collect --metrics results/runs/mini/*/*/*/metrics.json --out results/table.csv

Failed runs are counted and their reasons kept. They enter one mean only, ``accuracy_with_failures``, with the accuracy
of the most frequent class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lra.paths import REFERENCE
from lra.results.basis import training_columns
from lra.results.choice import tuning_columns
from lra.results.comparisons import Columns, adjust, compare_attentions
from lra.results.measures import read_measures
from lra.results.published import COMPARABLE_SCALE
from lra.results.published_columns import published_columns
from lra.results.reading import Run, read_runs
from lra.results.reference import read_cells
from lra.results.rows import TableRow, write_rows


def collect(
    metrics: Sequence[Path],
    out: Path,
    *,
    measures: Sequence[Path] = (),
    choices: Sequence[Path] = (),
    scale: str = "",
    reference: Path = REFERENCE,
) -> None:
    """Write the table of all runs.

    Args:
        metrics: ``metrics.json`` of every run; the rows keep this order of tasks and attentions.
        out: the CSV file to write, with the columns of :class:`lra.results.rows.TableRow`.
        measures: ``measure.json`` of every measured cell.
        choices: ``choice.json`` of every tuned cell.
        scale: name of the runs' scale; only at ``paper``, published values and reference results are added.
        reference: folder of the reference results.

    Raises:
        LraError: a file is damaged, or the runs do not belong together.
    """
    runs = read_runs(metrics)
    measured = read_measures(measures)
    references = read_cells(scale, reference) if scale == COMPARABLE_SCALE else {}
    by_cell: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        by_cell.setdefault((run.task, run.attention), []).append(run)
    tuned = tuning_columns(choices, by_cell)
    rows = []
    for task in dict.fromkeys(run.task for run in runs):
        cells = {attention: cell for (cell_task, attention), cell in by_cell.items() if cell_task == task}
        compared = compare_attentions(cells)
        for attention, cell in cells.items():
            key = task, attention
            columns = _results(cell) | compared.get(attention, {}) | measured.get(key, {}) | tuned.get(key, {})
            if scale == COMPARABLE_SCALE:
                columns |= published_columns(cell, references.get(key))
            rows.append(TableRow(scale=scale, task=task, attention=attention, **columns))
    write_rows(adjust(rows), out)


def _results(cell: Sequence[Run]) -> Columns:
    """Columns that come from a cell's own runs."""
    ok = [run.metrics for run in cell if run.ok]
    failed = [run.metrics for run in cell if not run.ok]
    failures = {run["status"] for run in failed}
    majority = cell[0].metrics["majority_accuracy"]
    columns = training_columns(cell[0].metrics) | {
        "status": "ok" if not failed else "partial" if ok else failures.pop() if len(failures) == 1 else "failed",
        "reason": _reasons(failed),
        "seeds_ok": len(ok),
        "seeds_run": len(cell),
        "majority_accuracy": majority,
        "accuracy_with_failures": float(np.mean([run["test_accuracy"] for run in ok] + [majority] * len(failed))),
        "parameters": next((run.metrics["parameters"] for run in cell if run.metrics.get("parameters")), None),
    }
    if pretrainings := [run["pretraining"] for run in ok if run.get("pretraining")]:
        columns |= {"pretrained": float(np.mean([pretraining["steps"] for pretraining in pretrainings]))}
        columns |= {"pretrain_seconds": float(np.mean([one["train_seconds"] for one in pretrainings]))}
    if ok:
        accuracies = [run["test_accuracy"] for run in ok]
        columns |= {"accuracy": float(np.mean(accuracies))}
        columns |= {"accuracy_std": float(np.std(accuracies, ddof=1)) if len(ok) > 1 else None}
        columns |= {name: float(np.mean([run[name] for run in ok])) for name in ("train_seconds", "steps")}
    return columns


def _reasons(failed: Sequence[Mapping[str, Any]]) -> str:
    """Each distinct failure once, with its seeds."""
    seeds: dict[str, list[str]] = {}
    for run in failed:
        seeds.setdefault(f"{run['status']}: {run['reason']}", []).append(str(run["seed"]))
    return "; ".join(f"seed{'s' if len(s) > 1 else ''} {', '.join(s)} {failure}" for failure, s in seeds.items())
