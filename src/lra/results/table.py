"""From the metrics and predictions of runs to one row an attention x task.

    lra collect --metrics results/runs/mini/*/*/*/metrics.json --out results/table.csv

A run that failed is counted and its reason kept, and it enters no mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lra.errors import LraError
from lra.results import published
from lra.results.measures import read_measures
from lra.results.reading import Run, read_runs
from lra.results.rows import BASELINE, Row, write_rows
from lra.results.statistics import Comparison, Correct, compare, holm, summarise, verdict

Columns = dict[str, Any]
"""Some columns of a row."""


def collect(metrics: Sequence[Path], out: Path, *, measures: Sequence[Path] = (), scale: str = "") -> None:
    """Write the table of all runs.

    Args:
        metrics: ``metrics.json`` of every run; tasks and attentions keep this order.
        out: the CSV file; :class:`lra.results.rows.Row` says what its columns hold.
        measures: ``measure.json`` of every measured cell.
        scale: name of the runs' scale; the paper's values stand beside those of the scale ``paper``.

    Raises:
        LraError: a file is damaged, or the runs do not belong together.
    """
    runs = read_runs(metrics)
    measured = read_measures(measures)
    rows = []
    for task in dict.fromkeys(run.task for run in runs):
        cells: dict[str, list[Run]] = {}
        for run in runs:
            if run.task == task:
                cells.setdefault(run.attention, []).append(run)
        compared = _compare(cells)
        for attention, cell in cells.items():
            columns = _results(cell) | compared.get(attention, {}) | measured.get((task, attention), {})
            if scale == "paper":
                columns |= _published(task, attention, columns.get("accuracy"))
            rows.append(Row(scale=scale, task=task, attention=attention, **columns))
    write_rows(rows, out)


def _results(cell: Sequence[Run]) -> Columns:
    """What a cell's runs say for themselves."""
    fine = [run.metrics for run in cell if run.ok]
    failed = [run.metrics for run in cell if not run.ok]
    kinds = {run["status"] for run in failed}
    columns = {
        "status": "ok" if not failed else "partial" if fine else kinds.pop() if len(kinds) == 1 else "failed",
        "reason": _reasons(failed),
        "seeds_ok": len(fine),
        "seeds_run": len(cell),
        "majority_accuracy": cell[0].metrics["majority_accuracy"],
        "test_rows": cell[0].metrics["test_rows"],
        "parameters": next((run.metrics["parameters"] for run in cell if run.metrics.get("parameters")), None),
    }
    if fine:
        summary = summarise([run["test_accuracy"] for run in fine])
        columns |= {"accuracy": summary.mean, "accuracy_std": summary.std}
        columns |= {"accuracy_low": _share(summary.low), "accuracy_high": _share(summary.high)}
        columns |= {name: float(np.mean([run[name] for run in fine])) for name in ("train_seconds", "steps")}
    return columns


def _share(value: float | None) -> float | None:
    """An end of an accuracy's interval; with two seeds such an interval can reach beyond what there is."""
    return None if value is None else min(max(value, 0.0), 1.0)


def _reasons(failed: Sequence[Mapping[str, Any]]) -> str:
    """Each way of failing once, with the seeds it befell."""
    seeds: dict[str, list[str]] = {}
    for run in failed:
        seeds.setdefault(f"{run['status']}: {run['reason']}", []).append(str(run["seed"]))
    return "; ".join(f"seed{'s' if len(s) > 1 else ''} {', '.join(s)} {how}" for how, s in seeds.items())


def _compare(cells: Mapping[str, Sequence[Run]]) -> dict[str, Columns]:
    """Each attention of a task against the majority class and against softmax; Holm's correction within each family."""
    labels, answers = _answers(cells)
    if labels is None:
        return {}
    majority = labels == np.bincount(labels).argmax()
    versus_majority = _adjust({name: compare(c, np.broadcast_to(majority, c.shape)) for name, c in answers.items()})
    columns: dict[str, Columns] = {
        name: {"versus_majority": verdict(found.difference, found.p)} for name, found in versus_majority.items()
    }
    if BASELINE in answers:
        others = {name: compare(c, answers[BASELINE]) for name, c in answers.items() if name != BASELINE}
        for name, found in _adjust(others).items():
            columns[name] |= {"difference": found.difference, "adjusted_p": found.p, "noise": found.noise}
            columns[name] |= {"versus_softmax": verdict(found.difference, found.p)}
    return columns


def _answers(cells: Mapping[str, Sequence[Run]]) -> tuple[npt.NDArray[np.uint8] | None, dict[str, Correct]]:
    """The task's labels (examples,), and which examples each attention's runs got right (seeds, examples)."""
    labels = None
    answers: dict[str, Correct] = {}
    for attention, cell in cells.items():
        correct = []
        for run in cell:
            if run.ok:
                label, prediction = run.predictions()
                if labels is not None and not np.array_equal(label, labels):
                    raise LraError(f"{run.folder}/predictions.parquet has other labels than its task's other runs.")
                labels = label
                correct.append(label == prediction)
        if correct:
            answers[attention] = np.stack(correct)
    return labels, answers


def _adjust(comparisons: Mapping[str, Comparison]) -> dict[str, Comparison]:
    """The same comparisons with p-values adjusted by Holm's method."""
    adjusted = holm([comparison.p for comparison in comparisons.values()])
    return {
        name: dataclasses.replace(comparison, p=p)
        for (name, comparison), p in zip(comparisons.items(), adjusted, strict=True)
    }


def _published(task: str, attention: str, ours: float | None) -> Columns:
    paper = published.accuracy(attention, task)
    difference = None if ours is None or paper is None else ours - paper
    return {"published_accuracy": paper, "published_difference": difference}
