"""Shards for a rehearsal: random tokens of a task's true length, to find crashes before the real data are fetched.

lra rehearsal-data listops
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lra.config.mapping import from_mapping
from lra.data.shards import Shards, write_shards
from lra.tasks import module_of
from lra.tasks.contract import SPLITS, Rows, Task, list_array, record_batch


def describe(task: str, settings: Mapping[str, Any]) -> Task:
    """The task as its ``data`` block of config.yaml makes it."""
    module = module_of(task, settings)
    found: Task = module.describe(from_mapping(module.Settings, settings, f"the data settings of {task}"))
    return found


def random_shards(task: Task, rows: Rows, out: Path) -> Shards:
    """Write shards of random rows, the first of each split of the full length.

    Args:
        task: description of the rows.
        rows: number of them in each split.
        out: folder of the shards.
    """
    examples = {split: [_random_rows(task, getattr(rows, split), seed)] for seed, split in enumerate(SPLITS)}
    provenance = {"source": "random tokens"}
    return write_shards(out, task, examples, expected=rows, provenance=provenance)


def _random_rows(task: Task, rows: int, seed: int) -> pa.RecordBatch:
    random = np.random.default_rng(seed)
    kind = np.uint8 if task.vocabulary <= 256 else np.uint16
    towers = []
    for _ in range(task.towers):
        lengths = random.integers(max(1, task.max_length // 2), task.max_length + 1, rows)
        lengths[0] = task.max_length
        # The id 0 is padding in most tasks.
        towers.append(list_array(random.integers(1, task.vocabulary, lengths.sum()).astype(kind), lengths))
    return record_batch(random.integers(0, task.classes, rows), *towers)
