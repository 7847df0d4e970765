"""Published numbers, as CSV files in the folder ``published``: the paper's own tables (arXiv 2112.05359, NAACL 2022).

``accuracy.csv`` is its table 1 (per cent), ``time.csv`` its table 2 (minutes per 1000 steps and the batch that fitted
on a V100 with 16 GB), ``flops.csv`` its table 3 (leading terms in the sequence length n, the head dimension p and the
number of features d). ``protocol.csv`` is how it trained (section 6 and the released configuration) and on how many
test examples. ``elsewhere.csv`` holds the rows beyond the paper's: their titles, and accuracies from other papers (per
cent), each with its source and the protocol that it was trained by: ``paper`` is the paper's, ``arena`` that of Tay et
al. 2021 with its larger models, ``own`` a recipe of the source's own. ``pathx.csv`` is what was published on Path-X,
which the paper leaves out, in other protocols.
"""

from __future__ import annotations

import csv
import functools
from pathlib import Path

FOLDER = Path(__file__).with_name("published")
PAPER = "Chen et al. 2022 (arXiv 2112.05359), table 1"
PATHX = "pathx"
FAILS = "fails, no better than chance"
UNTRAINED = ("task", "test_rows")
"""Columns of ``protocol.csv`` that are no settings."""


@functools.cache
def _rows(name: str, key: str) -> dict[str, dict[str, str]]:
    return {row[key]: row for row in _lines(name)}


def _lines(name: str) -> list[dict[str, str]]:
    with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def title(attention: str) -> str:
    """What tables and figures call an attention: the paper's name, its usual one, or its own where neither is known."""
    if row := _rows("accuracy", "attention").get(attention):
        return row["model"]
    return _elsewhere(attention).get("title", attention)


def attentions() -> list[str]:
    """The rows of the paper's table 1."""
    return list(_rows("accuracy", "attention"))


def task_title(task: str) -> str:
    """A task's name as in the paper."""
    return {"listops": "ListOps", "pathx": "Path-X"}.get(task, task.capitalize())


def accuracy(attention: str, task: str) -> float | None:
    """Test accuracy between 0 and 1 that was published under the paper's protocol; None where there is none."""
    row = _rows("accuracy", "attention").get(attention, {})
    return _share(row or (_elsewhere(attention) if protocol_elsewhere(attention) == "paper" else {}), task)


def accuracy_elsewhere(attention: str, task: str) -> float | None:
    """Test accuracy between 0 and 1 that was published under another protocol; None where there is none."""
    return None if protocol_elsewhere(attention) == "paper" else _share(_elsewhere(attention), task)


def protocol_elsewhere(attention: str) -> str | None:
    """How a row beyond the paper's was trained: ``paper``, ``arena`` or ``own``; None for the others."""
    return _elsewhere(attention).get("protocol")


def source_elsewhere(attention: str) -> str | None:
    """Where the accuracies of a row beyond the paper's come from."""
    return _elsewhere(attention).get("source")


def _elsewhere(attention: str) -> dict[str, str]:
    return _rows("elsewhere", "attention").get(attention, {})


def _share(row: dict[str, str], task: str) -> float | None:
    value = row.get(task)
    return float(value) / 100 if value else None


def source(attention: str, task: str) -> str | None:
    """Where an accuracy was published, and what was published where that is no number; None where nothing was."""
    if task == PATHX:
        told = _rows(PATHX, "attention").get(attention)
        if told is None:
            return None
        return f"{told['source']}: {FAILS if told['accuracy'] == 'fails' else told['accuracy']}"
    if accuracy(attention, task) is None:
        return None
    return PAPER if attention in attentions() else source_elsewhere(attention)


def pathx() -> list[tuple[str, str, str]]:
    """Model, accuracy in per cent or ``fails``, and source of all that others published on Path-X."""
    return [(row["model"], row["accuracy"], row["source"]) for row in _lines(PATHX)]


def tasks() -> list[str]:
    """The paper's tasks."""
    return list(_rows("protocol", "task"))


def test_rows(task: str) -> int:
    """Test examples of one of the paper's tasks."""
    return int(_rows("protocol", "task")[task]["test_rows"])


def protocol(task: str) -> dict[str, float]:
    """How the paper trained on one of its tasks, by names of settings."""
    return {name: float(value) for name, value in _rows("protocol", "task")[task].items() if name not in UNTRAINED}


def seconds_per_1000_steps(attention: str, task: str) -> float | None:
    """Training time on the paper's machine; None where the paper has no value."""
    value = _rows("time", "attention").get(attention, {}).get(f"{task}_min_per_1k_steps")
    return float(value) * 60 if value else None


def leading_flops(attention: str) -> str | None:
    """Leading term of one head's FLOPs, such as ``4 n d p``; None where the paper has no value."""
    row = _rows("flops", "model").get(title(attention))
    return row["leading_flops"] if row else None


def fitting_batch(attention: str, task: str) -> int | None:
    """The batch that fitted on the paper's GPU; None where the paper has no value."""
    value = _rows("time", "attention").get(attention, {}).get(f"{task}_batch")
    return int(value) if value else None
