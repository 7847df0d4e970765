"""Reference results, the runs published in ``reference/``, as far as the table and the figures need them.

:mod:`lra.sharing.publications` writes these files and checks them in full. Here the seal and the answers are checked.
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
    """The published runs of an attention on a task.

    Attributes:
        correct: whether each run answered each test example correctly, (seeds, examples).
        metrics: of the first run.
    """

    correct: npt.NDArray[np.bool_]
    metrics: Mapping[str, Any]

    @property
    def accuracies(self) -> list[float]:
        """One a seed."""
        return [float(share) for share in self.correct.mean(axis=1)]


def unpack_answers(packed: str, rows: int) -> npt.NDArray[np.bool_]:
    """Whether each test example was answered correctly, (rows,): a bit each, the first the highest of its byte.

    Raises:
        ValueError: these are not so many bits in base64.
    """
    try:
        content = base64.b64decode(packed, validate=True)
    except binascii.Error as problem:
        raise ValueError("no base64") from problem
    bits = np.unpackbits(np.frombuffer(content, np.uint8))
    if len(content) != -(-rows // 8) or bits[rows:].any():
        raise ValueError(f"not {rows} bits")
    return bits[:rows].astype(bool)


def read_cells(scale: str, folder: Path = REFERENCE) -> dict[tuple[str, str], ReferenceCell]:
    """The reference results of a scale, by task and attention.

    Raises:
        LraError: a file is damaged or was edited, or seeds of a cell were tested on different examples.
    """
    found: dict[tuple[str, str], list[tuple[Path, Mapping[str, Any], npt.NDArray[np.bool_]]]] = {}
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
        found.setdefault(cell, []).append((path, metrics, answers))
    for runs in found.values():
        for path, metrics, _ in runs:
            if metrics["data"] != runs[0][1]["data"]:
                raise LraError(f"{path} and {runs[0][0]} were tested on different examples; no mean is taken of both.")
    return {
        cell: ReferenceCell(np.stack([answers for _, _, answers in runs]), runs[0][1]) for cell, runs in found.items()
    }
