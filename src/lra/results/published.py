"""Published numbers, from CSV files in the folder ``published``.

From the paper (arXiv 2112.05359, NAACL 2022):

* ``accuracy.csv``: table 1, per cent.
* ``time.csv``: table 2, minutes per 1000 steps, and the batch that fits on a V100 with 16 GB.
* ``flops.csv``: table 3, leading terms in the sequence length n, the head dimension p and the number of features d.
* ``protocol.csv``: training settings (section 6 and the released configuration) and number of test examples.

From other papers:

* ``elsewhere.csv``: titles and accuracies (per cent) of methods beyond the paper's, each with its source and protocol:
  ``paper`` is the paper's protocol, ``arena`` that of Tay et al. 2021 with larger models, ``own`` the source's own.
* ``pathx.csv``: accuracies on Path-X, which the paper leaves out, under other protocols.
"""

from __future__ import annotations

import csv
import functools
from pathlib import Path

FOLDER = Path(__file__).with_name("published")
PAPER = "Chen et al. 2022 (arXiv 2112.05359), table 1"
COMPARABLE_SCALE = "paper"
"""The only scale whose rows are comparable with published values."""
PATHX = "pathx"
FAILS = "fails, no better than chance"
NOT_SETTINGS = ("task", "test_rows")
"""Columns of ``protocol.csv`` that are not training settings."""


@functools.cache
def _rows(name: str, key: str) -> dict[str, dict[str, str]]:
    return {row[key]: row for row in _lines(name)}


def _lines(name: str) -> list[dict[str, str]]:
    with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def title(attention: str) -> str:
    """Name of an attention in tables and figures: the paper's, else its usual one, else its name in the settings."""
    if row := _rows("accuracy", "attention").get(attention):
        return row["model"]
    return _elsewhere(attention).get("title", attention)


def attentions() -> list[str]:
    """Attentions of the paper's table 1, in its order."""
    return list(_rows("accuracy", "attention"))


def task_title(task: str) -> str:
    """A task's name as in the paper."""
    return {"listops": "ListOps", "pathx": "Path-X"}.get(task, task.capitalize())


def accuracy(attention: str, task: str) -> float | None:
    """Test accuracy published under the paper's protocol, between 0 and 1; None if there is none."""
    row = _rows("accuracy", "attention").get(attention, {})
    return _share(row or (_elsewhere(attention) if protocol_elsewhere(attention) == "paper" else {}), task)


def accuracy_elsewhere(attention: str, task: str) -> float | None:
    """Test accuracy published under another protocol, between 0 and 1; None if there is none."""
    return None if protocol_elsewhere(attention) == "paper" else _share(_elsewhere(attention), task)


def protocol_elsewhere(attention: str) -> str | None:
    """Protocol of a method beyond the paper's: ``paper``, ``arena`` or ``own``; None for the paper's methods."""
    return _elsewhere(attention).get("protocol")


def source_elsewhere(attention: str) -> str | None:
    """Source of the accuracies of a method beyond the paper's."""
    return _elsewhere(attention).get("source")


def _elsewhere(attention: str) -> dict[str, str]:
    return _rows("elsewhere", "attention").get(attention, {})


def _share(row: dict[str, str], task: str) -> float | None:
    value = row.get(task)
    return float(value) / 100 if value else None


def source(attention: str, task: str) -> str | None:
    """Source of a published accuracy, on Path-X followed by the value; None if no accuracy was published."""
    if task == PATHX:
        row = _rows(PATHX, "attention").get(attention)
        if row is None:
            return None
        return f"{row['source']}: {FAILS if row['accuracy'] == 'fails' else row['accuracy']}"
    if accuracy(attention, task) is None:
        return None
    return PAPER if attention in attentions() else source_elsewhere(attention)


def pathx() -> list[tuple[str, str, str]]:
    """Model, accuracy (per cent or ``fails``) and source of each published result on Path-X."""
    return [(row["model"], row["accuracy"], row["source"]) for row in _lines(PATHX)]


def tasks() -> list[str]:
    """The paper's tasks."""
    return list(_rows("protocol", "task"))


def test_rows(task: str) -> int:
    """Number of test examples of one of the paper's tasks."""
    return int(_rows("protocol", "task")[task]["test_rows"])


def protocol(task: str) -> dict[str, float]:
    """The paper's training settings for one of its tasks, by name."""
    return {name: float(value) for name, value in _rows("protocol", "task")[task].items() if name not in NOT_SETTINGS}


def seconds_per_1000_steps(attention: str, task: str) -> float | None:
    """Seconds per 1000 training steps on the paper's machine; None if the paper has no value."""
    value = _rows("time", "attention").get(attention, {}).get(f"{task}_min_per_1k_steps")
    return float(value) * 60 if value else None


def leading_flops(attention: str) -> str | None:
    """Leading term of one head's FLOPs, such as ``4 n d p``; None if the paper has no value."""
    row = _rows("flops", "model").get(title(attention))
    return row["leading_flops"] if row else None


def fitting_batch(attention: str, task: str) -> int | None:
    """Batch that fits on the paper's GPU; None if the paper has no value."""
    value = _rows("time", "attention").get(attention, {}).get(f"{task}_batch")
    return int(value) if value else None
