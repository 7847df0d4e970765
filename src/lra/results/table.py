"""From the metrics and predictions of runs to one row an attention x task.

    lra collect --metrics results/runs/mini/*/*/*/metrics.json --out results/table.csv

A run that failed is counted and its reason kept. It enters the mean of one column only, at the majority's accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lra.paths import REFERENCE
from lra.results.basis import circumstances
from lra.results.beside import COMPARABLE_SCALE, set_beside
from lra.results.choice import tuning_columns
from lra.results.comparisons import Columns, adjust, compare_attentions
from lra.results.measures import read_measures
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
        metrics: ``metrics.json`` of every run; tasks and attentions keep this order.
        out: the CSV file; :class:`lra.results.rows.TableRow` says what its columns hold.
        measures: ``measure.json`` of every measured cell.
        choices: ``choice.json`` of every tuned cell.
        scale: name of the runs' scale; published values and reference results stand beside those of the scale
            ``paper``.
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
        cells = {attention: cell for (of, attention), cell in by_cell.items() if of == task}
        compared = compare_attentions(cells)
        for attention, cell in cells.items():
            place = task, attention
            columns = _results(cell) | compared.get(attention, {}) | measured.get(place, {}) | tuned.get(place, {})
            if scale == COMPARABLE_SCALE:
                columns |= set_beside(cell, references.get(place))
            rows.append(TableRow(scale=scale, task=task, attention=attention, **columns))
    write_rows(adjust(rows), out)


def _results(cell: Sequence[Run]) -> Columns:
    """What a cell's runs say for themselves."""
    fine = [run.metrics for run in cell if run.ok]
    failed = [run.metrics for run in cell if not run.ok]
    kinds = {run["status"] for run in failed}
    majority = cell[0].metrics["majority_accuracy"]
    columns = circumstances(cell[0].metrics) | {
        "status": "ok" if not failed else "partial" if fine else kinds.pop() if len(kinds) == 1 else "failed",
        "reason": _reasons(failed),
        "seeds_ok": len(fine),
        "seeds_run": len(cell),
        "majority_accuracy": majority,
        "accuracy_with_failures": float(np.mean([run["test_accuracy"] for run in fine] + [majority] * len(failed))),
        "parameters": next((run.metrics["parameters"] for run in cell if run.metrics.get("parameters")), None),
    }
    if started := [run["pretraining"] for run in fine if run.get("pretraining")]:
        columns |= {"pretrained": float(np.mean([start["steps"] for start in started]))}
        columns |= {"pretrain_seconds": float(np.mean([start["train_seconds"] for start in started]))}
    if fine:
        accuracies = [run["test_accuracy"] for run in fine]
        columns |= {"accuracy": float(np.mean(accuracies))}
        columns |= {"accuracy_std": float(np.std(accuracies, ddof=1)) if len(fine) > 1 else None}
        columns |= {name: float(np.mean([run[name] for run in fine])) for name in ("train_seconds", "steps")}
    return columns


def _reasons(failed: Sequence[Mapping[str, Any]]) -> str:
    """Each way of failing once, with the seeds it befell."""
    seeds: dict[str, list[str]] = {}
    for run in failed:
        seeds.setdefault(f"{run['status']}: {run['reason']}", []).append(str(run["seed"]))
    return "; ".join(f"seed{'s' if len(s) > 1 else ''} {', '.join(s)} {how}" for how, s in seeds.items())
