"""Read the tables of ``lra bench`` and ``lra approximate``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from lra.errors import LraError
from lra.sealing import read_sealed_csv


def read_table(path: Path, columns: Iterable[str], command: str) -> pd.DataFrame:
    """Read the table that ``command`` wrote.

    Raises:
        LraError: the file is missing, lacks a column, is no such table, or was edited.
    """
    try:
        table = pd.read_csv(path)
        if not (missing := [column for column in columns if column not in table]):
            read_sealed_csv(path, command)
    except FileNotFoundError:
        raise LraError(f"{path} is not there; write it with `{command}`.") from None
    except (OSError, ValueError) as problem:
        raise LraError(
            f"{path} cannot be read ({' '.join(str(problem).split())}); write it again with `{command}`."
        ) from None
    if missing:
        raise LraError(f"{path} has no column {missing[0]!r}; write it again with `{command}`.")
    return table
