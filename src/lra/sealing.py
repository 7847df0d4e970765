"""Sealed files, which reveal edits by hand: JSON with a checksum, CSV with a checksum in each row."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lra.errors import LraError
from lra.files import checksum, read_json, sealed, write_csv, write_json

SEAL = "checksum"
"""Key of the checksum in sealed JSON, and last column of sealed CSV, where each row has a digest of all rows."""


def write_measure(path: Path, measure: dict[str, Any]) -> dict[str, Any]:
    """Write a ``measure.json``; returns its content, including the checksum."""
    content = sealed(measure)
    write_json(path, content)
    return content


def read_measure(path: Path) -> dict[str, Any]:
    """Read a ``measure.json``.

    Raises:
        LraError: the file is missing, is no measurement, or was edited.
    """
    measure = read_json(path)
    if not isinstance(measure, dict) or "status" not in measure:
        raise LraError(f"{path} is not a measurement; delete it, and it is made anew.")
    if measure.get(SEAL) != checksum(measure):
        raise LraError(f"{path} is not what `lra measure` wrote: its checksum differs; delete it, and it is made anew.")
    return measure


def write_sealed_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a CSV file with the given columns and :data:`SEAL` as the last one; None becomes an empty field."""
    lines = [["" if value is None else str(value) for value in row] for row in rows]
    write_csv(path, [*columns, SEAL], ([*line, digest(lines)] for line in lines))


def digest(lines: Sequence[Sequence[str | None]]) -> str:
    """First 16 hexadecimal digits of the SHA-256 of all rows."""
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:16]


def read_sealed_csv(path: Path, command: str) -> tuple[list[str], list[list[str]]]:
    """Read a sealed CSV file and compare its rows with their checksum.

    Args:
        path: the file.
        command: the command that writes it, for the error message.

    Returns:
        Columns and rows without :data:`SEAL`; an empty field is an empty text.

    Raises:
        LraError: a row was edited, added or left out.
        OSError, ValueError, csv.Error: the file cannot be read.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        header, *lines = csv.reader(stream)
    rows = [line[:-1] for line in lines]
    if header[-1] != SEAL or {line[-1] for line in lines} - {digest(rows)}:
        raise LraError(f"{path} was edited; delete it, and write it again with `{command}`.")
    return header[:-1], rows
