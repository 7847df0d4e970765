"""Whether a folder of prepared data may be written again."""

from __future__ import annotations

from pathlib import Path

from lra.data.shards import read_shards
from lra.errors import LraError

RANDOM = "random tokens"
"""The source that a manifest of :mod:`lra.data.synthetic` names."""


def refuse_other_data(folder: Path, task: str, *, for_random: bool = False) -> None:
    """Refuse to replace the data of another task, or real data by random tokens.

    Raises:
        LraError: the folder holds such data, undamaged.
    """
    try:
        held = read_shards(folder)
    except LraError:
        return
    if held.task.name != task:
        what = f"the task {held.task.name!r}"
    elif for_random and held.provenance.get("source") != RANDOM:
        what = f"real data of {task!r}"
    else:
        return
    raise LraError(f"{folder} would be replaced, but holds {what}; give a folder of its own, or delete it.")
