"""Read reference results, the runs published in ``reference/``, for the table and the figures.

:mod:`lra.sharing.publications` writes these files and checks them fully. This module checks the seal and the answers.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lra.errors import LraError
from lra.files import checksum, read_json
from lra.paths import REFERENCE


@dataclass(frozen=True)
class ReferenceCell:
    """The reference result of a cell: the published runs of an attention on a task.

    Attributes:
        correct: whether each run answered each test example correctly, (seeds, examples).
        metrics: metrics of the first run.
    """

    correct: npt.NDArray[np.bool_]
    metrics: Mapping[str, Any]

    @property
    def accuracies(self) -> list[float]:
        """Test accuracy of each run, between 0 and 1."""
        return [float(share) for share in self.correct.mean(axis=1)]


def unpack_answers(packed: str, rows: int) -> npt.NDArray[np.bool_]:
    """Unpack whether each test example was answered correctly, as booleans of shape (rows,).

    Args:
        packed: one bit per example in base64; the first example has the highest bit of a byte.
        rows: number of test examples.

    Raises:
        ValueError: ``packed`` is not base64 of this number of bits.
    """
    try:
        content = base64.b64decode(packed, validate=True)
    except binascii.Error as problem:
        raise ValueError("not base64") from problem
    bits = np.unpackbits(np.frombuffer(content, np.uint8))
    if len(content) != -(-rows // 8) or bits[rows:].any():
        raise ValueError(f"not {rows} bits")
    return bits[:rows].astype(bool)


def read_cells(scale: str, folder: Path = REFERENCE) -> dict[tuple[str, str], ReferenceCell]:
    """The reference results of a scale, by task and attention.

    Raises:
        LraError: a file is damaged or was edited, or seeds of a cell were tested on different examples.
    """
    cells: dict[tuple[str, str], list[tuple[Path, Mapping[str, Any], npt.NDArray[np.bool_]]]] = {}
    for path in sorted((folder / scale).glob("*/*/*.json")):
        content = read_json(path)
        try:
            if content["checksum"] != checksum(content):
                raise ValueError("its checksum differs")
            metrics = content["metrics"]
            answers = unpack_answers(content["correct"], metrics["test_rows"])
            cell = metrics["task"], metrics["attention"]
        except (KeyError, TypeError, ValueError) as problem:
            raise LraError(f"{path} is damaged or was edited ({problem}); get it again.") from problem
        cells.setdefault(cell, []).append((path, metrics, answers))
    for runs in cells.values():
        for path, metrics, _ in runs:
            if metrics["data"] != runs[0][1]["data"]:
                raise LraError(
                    f"{path} and {runs[0][0]} were tested on different examples, so they cannot be averaged; "
                    "remove one of them."
                )
    return {
        cell: ReferenceCell(np.stack([answers for _, _, answers in runs]), runs[0][1]) for cell, runs in cells.items()
    }
